package usernet

import "testing"

// FuzzOptions has values of --net and --publish: what is taken means the same when
// it is written again, and its addresses lie where they must be.
func FuzzOptions(f *testing.F) {
	for _, s := range [][2]string{
		{"user", "8080:80"}, {"user,mtu=1500,net=192.168.7.0/24,net=fd12::/64", "127.0.0.1:53:53/udp"},
		{"user,outbound=192.0.2.0/24,198.51.100.7,network=shop", "[::1]:1:2"}, {"user,outbound=all,127.0.0.1", "[fe80::1%lo]:1:2/tcp"},
		{"user,outbound=none", "0.0.0.0:1:1"}, {"user,idle=1m30s", "1:1"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, spec, publish string) {
		if c, err := Parse(spec); err == nil {
			if c.MTU < MinMTU || c.MTU > DefaultMTU || c.Net6.IsValid() && c.MTU < MinMTU6 {
				t.Errorf("%q: MTU %d", spec, c.MTU)
			}
			first := c.Guest4(0)
			if !first.IsValid() || first == c.Gateway4() || first == c.DNS4() || first == c.Broadcast4() ||
				!c.Net4.Contains(first) || !c.Net4.Contains(c.Gateway4()) || !c.Net4.Contains(c.DNS4()) {
				t.Errorf("%q: first guest %v, gateway %v", spec, first, c.Gateway4())
			}
			again, err := Parse("user,outbound=" + c.Outbound.String())
			if err != nil || again.Outbound.String() != c.Outbound.String() {
				t.Errorf("%q: outbound %v, again %v, %v", spec, c.Outbound, again.Outbound, err)
			}
		}
		if p, err := ParsePublish(publish); err == nil {
			again, err := ParsePublish(p.String())
			if err != nil || again != p || p.Guest == 0 || p.Host.Port() == 0 {
				t.Errorf("%q: %v, again %v, %v", publish, p, again, err)
			}
		}
	})
}
