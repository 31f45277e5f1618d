# The token before ours is signed by the key of the certificate that the caller showed.
package nsm.prev_token_signed

default valid := false

valid if {
	input.index >= 1
	token := input.path_segments[input.index - 1].token
	[header, _, _] := io.jwt.decode(token)
	header.alg == "ES256"
	io.jwt.verify_es256(token, input.auth_info.certificate)
}
