# Every token of the path ends in the future, by this machine's clock and without leeway.
package nsm.tokens_expired

default valid := false

valid if {
	every segment in input.path_segments {
		[header, claims, _] := io.jwt.decode(segment.token)
		is_string(header.alg)
		is_number(claims.exp)
		claims.exp * 1000000000 > time.now_ns()
	}
}
