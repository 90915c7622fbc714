package container

import (
	"slices"
	"testing"

	"gocat/internal/oci/state"
	"gocat/internal/oci/wire"
)

// A guest whose own arguments have an address is not told another, wherever they come
// from.
func TestWords(t *testing.T) {
	at := &wire.Interface{IPv4: []string{"10.0.0.2/24"}, Gateway: "10.0.0.1"}
	for _, test := range []struct{ has, told []string }{
		{nil, []string{"--ipv4=10.0.0.2/24", "--ipv4-gateway=10.0.0.1"}},
		{[]string{"--ipv4=10.9.9.9/8"}, []string{"--ipv4-gateway=10.0.0.1"}},
		{[]string{"--ipv4", "10.9.9.9/8", "--ipv4-gateway=10.9.9.1"}, nil},
	} {
		got, err := words(nil, &state.Wants{Nets: []string{"service"}, Args: test.has}, 0, at)
		if err != nil || !slices.Equal(got, test.told) {
			t.Errorf("%q: told %q, %v; want %q", test.has, got, err, test.told)
		}
	}
}
