# Every token of the path is a JWT. A path without segments is valid.
package nsm.tokens_valid

default valid := false

valid if {
	every segment in input.path_segments {
		[header, _, _] := io.jwt.decode(segment.token)
		is_string(header.alg)
	}
}
