# Each token is made for whoever made the next one. Fewer than two segments are valid.
package nsm.tokens_chained

default valid := false

valid if count(input.path_segments) < 2

valid if {
	count(input.path_segments) >= 2
	every place in numbers.range(1, count(input.path_segments) - 1) {
		earlier := claims_at(place - 1)
		later := claims_at(place)
		is_array(earlier.aud)
		every audience in earlier.aud {
			is_string(audience)
		}
		is_string(later.sub)
		later.sub != ""
		later.sub in earlier.aud
	}
}

claims_at(place) := claims if {
	[header, claims, _] := io.jwt.decode(input.path_segments[place].token)
	is_string(header.alg)
}
