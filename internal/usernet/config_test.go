package usernet

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// Where a guest may connect to.
func TestOutbound(t *testing.T) {
	for spec, want := range map[string]map[string]bool{
		"user": {
			"1.1.1.1": true, "192.168.1.1": true, "2001:db8::1": true, "10.0.0.1": true,
			"127.0.0.1": false, "127.9.9.9": false, "::1": false, "::ffff:127.0.0.1": false, "0.0.0.0": false, "0.1.2.3": false, "::": false,
			"169.254.169.254": false, "::ffff:169.254.169.254": false, "fe80::1": false, "224.0.0.1": false, "ff02::1": false, "255.255.255.255": false, "240.0.0.1": false,
			"fd00:ec2::254": false, "fd20:ce::254": false, "100.100.100.200": false, "192.0.0.192": false, "168.63.129.16": false, "::ffff:168.63.129.16": false,
		},
		"user,outbound=all,168.63.129.16":              {"168.63.129.16": true, "100.100.100.200": false},
		"user,outbound=none":                           {"1.1.1.1": false, "127.0.0.1": false, "2001:db8::1": false},
		"user,outbound=1.1.1.0/24":                     {"1.1.1.1": true, "1.1.2.1": false, "127.0.0.1": false, "::ffff:1.1.1.1": true},
		"user,outbound=1.1.1.0/24,2001:db8::/32":       {"1.1.1.1": true, "2001:db8::1": true, "2001:db9::1": false},
		"user,outbound=all,127.0.0.1,outbound=fe80::1": {"1.1.1.1": true, "127.0.0.1": true, "127.0.0.2": false, "::ffff:127.0.0.1": true, "fe80::1": true, "fe80::2": false},
	} {
		c, err := Parse(spec)
		if err != nil {
			t.Errorf("%s: %v", spec, err)
			continue
		}
		for a, may := range want {
			if c.Outbound.Allows(netip.MustParseAddr(a)) != may {
				t.Errorf("%s: %s: %v, want %v", spec, a, !may, may)
			}
		}
	}
}

// What gocat tells gocat-net arrives.
func TestRequest(t *testing.T) {
	want := Request{Spec: "user,mtu=1500", Publish: []string{"1:2", "3:4/udp"}, Device: "service", Guest: "--verbose", MAC: [6]byte{2, 0, 0, 0, 0, 1}, Taken: []int{3, 9}, Verbose: true}
	got, err := ParseRequest(want.Args()[2:])
	if err != nil || got.Spec != want.Spec || got.Guest != want.Guest || got.MAC != want.MAC || !got.Verbose || len(got.Publish) != 2 || got.Device != want.Device || !slices.Equal(got.Taken, want.Taken) {
		t.Errorf("%+v, %v", got, err)
	}
}

// How long a guest may be idle is a time within bounds, and for a network of its own.
func TestParseIdle(t *testing.T) {
	for spec, want := range map[string]time.Duration{"user": 0, "user,idle=30s": 30 * time.Second, "user,idle=10ms": 10 * time.Millisecond, "user,idle=5s,idle=1h": time.Hour} {
		if c, err := Parse(spec); err != nil || c.Idle != want {
			t.Errorf("%s: %v, %v", spec, c.Idle, err)
		}
	}
	for _, spec := range []string{"user,idle=", "user,idle=0", "user,idle=30", "user,idle=-1s", "user,idle=1us", "user,idle=100000h", "user,idle=1s,network=a"} {
		if c, err := Parse(spec); err == nil {
			t.Errorf("%s: %v", spec, c.Idle)
		}
	}
}
