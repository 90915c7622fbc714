package helper

import (
	"fmt"
	"net/netip"
	"testing"

	"gocat/internal/usernet"
)

// Sockets go to the published port of their number and protocol, or else to one that
// is left, in order; what does not fit is refused.
func TestMatch(t *testing.T) {
	publish, err := usernet.CheckPublish([]string{"80:1", "81:2", "80:3/udp", "192.0.2.1:80:4"})
	if err != nil {
		t.Fatal(err)
	}
	tcp := func(port uint16) socket { return socket{bound: netip.AddrPortFrom(netip.IPv6Unspecified(), port)} }
	udp := func(port uint16) socket { s := tcp(port); s.udp = true; return s }
	for _, test := range []struct {
		sockets []socket
		want    string // published port: socket
	}{
		{nil, "map[]"},
		{[]socket{tcp(81), tcp(80)}, "map[0:1 1:0]"},
		{[]socket{tcp(9), tcp(80)}, "map[0:1 1:0]"},
		{[]socket{tcp(9), tcp(8), tcp(81)}, "map[0:0 1:2 3:1]"},
		{[]socket{tcp(80), tcp(80)}, "map[0:0 3:1]"},
		{[]socket{udp(81)}, "map[2:0]"},
		{[]socket{udp(80), udp(80)}, ""},
		{[]socket{tcp(1), tcp(2), tcp(3), tcp(4)}, ""},
	} {
		for i := range test.sockets {
			test.sockets[i].fd = i
		}
		ports, err := match(test.sockets, publish)
		if got := fmt.Sprint(ports); err == nil && got != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%v: %s, %v, want %s", test.sockets, got, err, test.want)
		}
	}
}
