# There is a token after ours, signed by the key of the certificate that the server showed.
package nsm.next_token_signed

default valid := false

valid if {
	token := input.path_segments[object.get(input, "index", 0) + 1].token
	[header, _, _] := io.jwt.decode(token)
	header.alg == "ES256"
	io.jwt.verify_es256(token, input.auth_info.certificate)
}
