// Package usernet gives a guest a network without privilege: the options of
// --net NAME=user and --publish, and the start of the process that is the
// network's other end. Linking it sets device.UserNetwork.
//
// The other end is a program of its own, gocat-net (packages helper and gateway
// below this one): a guest without such a network must not pay for a TCP/IP
// stack, neither in the start of gocat nor in its memory.
package usernet

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config is a user network as --net NAME=user[,KEY=VALUE...] describes it.
type Config struct {
	Net4     netip.Prefix // of the guests; the gateway has address 2 of it, the name server 3
	Net6     netip.Prefix // the same, always of 64 bits; invalid when the MTU is too small for IPv6
	MTU      int          // bytes of an IP packet, for the guests and the gateway
	Outbound Outbound
	Network  string        // the network's name, if guests share it
	Idle     time.Duration // after which a guest that nobody uses is ended; 0 for never
}

// Limits of the MTU in bytes. The largest is what fits an Ethernet frame of 16
// bits with some room, a multiple of 16, as in other programs of the kind. The
// smallest is that of IPv4 hosts (RFC 791); IPv6 takes more (RFC 8200).
const (
	MinMTU     = 576
	MinMTU6    = 1280
	DefaultMTU = 65520
)

// Outbound says where guests may connect to.
type Outbound struct {
	All   bool           // anywhere but the host's loopback, link-local, metadata and multicast addresses
	Named []netip.Prefix // these too, loopback and link-local addresses among them
}

// None reports whether guests may connect to nothing outside.
func (o Outbound) None() bool { return !o.All && len(o.Named) == 0 }

// Allows reports whether a guest may connect to a. An address that means an
// IPv4 address counts as that.
func (o Outbound) Allows(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, p := range o.Named {
		if p.Contains(a) {
			return true
		}
	}
	return o.All && a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() &&
		!a.IsLinkLocalUnicast() && !thisNetwork.Contains(a) && !reserved.Contains(a) && !slices.Contains(metadata[:], a)
}

var (
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")   // RFC 1122: the host itself
	reserved    = netip.MustParsePrefix("240.0.0.0/4") // RFC 1112, and the broadcast address
	// Addresses of clouds' services for the host alone that are not link-local:
	// Amazon's, Google's, Alibaba's, Oracle's and Azure's.
	metadata = [...]netip.Addr{
		netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd20:ce::254"), netip.MustParseAddr("100.100.100.200"),
		netip.MustParseAddr("192.0.0.192"), netip.MustParseAddr("168.63.129.16"),
	}
	default4 = netip.MustParsePrefix("10.0.2.0/24")
	default6 = netip.MustParsePrefix("fd00::/64")
)

// String is the policy as an option has it.
func (o Outbound) String() string {
	var parts []string
	if o.All {
		parts = append(parts, "all")
	}
	for _, p := range o.Named {
		parts = append(parts, p.String())
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ",")
}

// Parse reads user[,net=PREFIX][,mtu=N][,outbound=all|none|CIDR...][,network=ID][,idle=TIME].
func Parse(spec string) (Config, error) {
	c := Config{Net4: default4, Net6: default6, MTU: DefaultMTU}
	parts := strings.Split(spec, ",")
	if parts[0] != "user" {
		return c, fmt.Errorf("%q: want user, then its options after commas", spec)
	}
	var outbound []string
	key := ""
	for _, part := range parts[1:] {
		k, value, hasKey := strings.Cut(part, "=")
		switch {
		case hasKey:
			key = k
		case key == "outbound": // one more of its list
			value = part
		default:
			return c, fmt.Errorf("user network: %q: want net=, mtu=, outbound=, network= or idle=", part)
		}
		var err error
		switch key {
		case "net":
			err = c.setNet(value)
		case "mtu":
			c.MTU, err = strconv.Atoi(value)
			if err != nil || c.MTU < MinMTU || c.MTU > DefaultMTU {
				err = fmt.Errorf("want a number of bytes from %d to %d", MinMTU, DefaultMTU)
			}
		case "outbound":
			outbound = append(outbound, value)
		case "idle":
			c.Idle, err = ParseIdle(value)
		case "network":
			c.Network, err = value, checkID(value)
		default:
			return c, fmt.Errorf("user network: no option %q: want net=, mtu=, outbound=, network= or idle=", key)
		}
		if err != nil {
			return c, fmt.Errorf("user network: %s=%s: %w", key, value, err)
		}
	}
	if c.Idle > 0 && c.Network != "" {
		return c, errors.New("user network: idle= and network= exclude each other: the guests of a shared network may wait for one another")
	}
	if c.MTU < MinMTU6 {
		c.Net6 = netip.Prefix{}
	}
	var err error
	c.Outbound, err = parseOutbound(outbound)
	return c, err
}

// ParseIdle reads how long a guest may be idle.
func ParseIdle(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < minIdle || d > maxIdle {
		return 0, fmt.Errorf("%q: want a time from %v to %v, such as 30s", s, minIdle, maxIdle)
	}
	return d, nil
}

const minIdle, maxIdle = 10 * time.Millisecond, 1000 * time.Hour

// setNet takes the guests' network of either family.
func (c *Config) setNet(s string) error {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return fmt.Errorf("want an address and a length, such as %v or %v", default4, default6)
	}
	p, a := p.Masked(), p.Masked().Addr()
	switch {
	case a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() || a.Is4In6() || thisNetwork.Contains(a) || reserved.Contains(a):
		return fmt.Errorf("these are not addresses for guests; take private ones, such as %v or %v", default4, default6)
	case a.Is4() && (p.Bits() < 8 || p.Bits() > 29):
		return fmt.Errorf("want a length from 8 to 29")
	case a.Is4():
		c.Net4 = p
	case p.Bits() != 64:
		return fmt.Errorf("want a length of 64, for guests make addresses of their own in it")
	default:
		c.Net6 = p
	}
	return nil
}

func parseOutbound(values []string) (Outbound, error) {
	o := Outbound{All: len(values) == 0}
	for _, v := range values {
		switch v {
		case "all":
			o.All = true
			continue
		case "none":
			if len(values) > 1 {
				return o, fmt.Errorf("user network: outbound=none excludes the others")
			}
			continue
		}
		p, err := netip.ParsePrefix(v)
		if err != nil {
			a, errAddr := netip.ParseAddr(v)
			if errAddr != nil || a.Zone() != "" {
				return o, fmt.Errorf("user network: outbound=%s: want all, none, or addresses such as 192.0.2.0/24", v)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		if p.Addr().Is4In6() {
			return o, fmt.Errorf("user network: outbound=%s: write it as the IPv4 address that it means", v)
		}
		o.Named = append(o.Named, p.Masked())
	}
	return o, nil
}

// MaxID is how long a network's name may be, in bytes.
const MaxID = 40

func checkID(s string) error {
	if s == "" || len(s) > MaxID || strings.IndexFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' && r != '_' && r != '.'
	}) >= 0 {
		return fmt.Errorf("a network's name has 1 to %d letters, digits, '-', '_' and '.'", MaxID)
	}
	return nil
}

// The gateway's and the name server's number in each of a network's prefixes.
const (
	gatewayNumber = 2
	dnsNumber     = 3
)

// Gateway4, DNS4, Gateway6 and DNS6 are the addresses that a network has beside
// its guests'. Those of IPv6 are invalid if it has none.
func (c *Config) Gateway4() netip.Addr { return nth(c.Net4, gatewayNumber) }

// DNS4 is the name server's IPv4 address.
func (c *Config) DNS4() netip.Addr { return nth(c.Net4, dnsNumber) }

// Gateway6 is the gateway's IPv6 address.
func (c *Config) Gateway6() netip.Addr { return nth(c.Net6, gatewayNumber) }

// DNS6 is the name server's IPv6 address.
func (c *Config) DNS6() netip.Addr { return nth(c.Net6, dnsNumber) }

// GuestNumber is the number of the first guest's address: 100, or 4 in a network
// that is too small.
func (c *Config) GuestNumber() int {
	if c.Net4.Bits() <= 24 {
		return 100
	}
	return 4
}

// Guest4 is the address of the network's guest i, counted from 0; invalid when
// there is no room for it.
func (c *Config) Guest4(i int) netip.Addr {
	n := c.GuestNumber() + i
	if n >= 1<<(32-c.Net4.Bits())-1 { // the last one is for broadcasts
		return netip.Addr{}
	}
	return nth(c.Net4, n)
}

// Broadcast4 is the network's broadcast address.
func (c *Config) Broadcast4() netip.Addr { return nth(c.Net4, 1<<(32-c.Net4.Bits())-1) }

// nth is address n of a prefix.
func nth(p netip.Prefix, n int) netip.Addr {
	if !p.IsValid() {
		return netip.Addr{}
	}
	b := p.Addr().AsSlice()
	for i := len(b) - 1; n > 0; i-- {
		b[i] |= byte(n)
		n >>= 8
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
