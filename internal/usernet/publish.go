package usernet

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Publish is a port of the host that leads to one of the guest's.
type Publish struct {
	Host  netip.AddrPort
	Guest uint16
	UDP   bool
}

// MaxPublish is how many ports one guest may publish: their descriptors pass in
// one message, which the kernel lets hold 253 (SCM_MAX_FD).
const MaxPublish = 200

// ParsePublish reads [IP:]HOST:GUEST[/tcp|/udp]. Without IP it is the loopback
// address; an IPv6 address stands in brackets.
func ParsePublish(s string) (p Publish, err error) {
	ports, protocol, ok := strings.Cut(s, "/")
	if ok && protocol != "tcp" && protocol != "udp" {
		return p, fmt.Errorf("%q: %q is neither tcp nor udp", s, protocol)
	}
	p.UDP = protocol == "udp"
	host, guest, ok := cutLast(ports, ':')
	if !ok {
		return p, fmt.Errorf("%q: want [IP:]HOST:GUEST[/udp], such as 8080:80", s)
	}
	if p.Guest, err = port(guest); err != nil {
		return p, fmt.Errorf("%q: the guest's port: %w", s, err)
	}
	address := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if ip, number, ok := cutLast(host, ':'); ok {
		bare, bracketed := strings.CutPrefix(ip, "[")
		if bracketed {
			bare, bracketed = strings.CutSuffix(bare, "]")
		}
		address, err = netip.ParseAddr(bare)
		if err != nil || address.Is6() != bracketed || address.Is4In6() {
			return p, fmt.Errorf("%q: %q is no address: want one such as 192.0.2.1 or [::1]", s, ip)
		}
		host = number
	}
	n, err := port(host)
	if err != nil {
		return p, fmt.Errorf("%q: the host's port: %w", s, err)
	}
	p.Host = netip.AddrPortFrom(address, n)
	return p, nil
}

// Protocol is tcp or udp.
func (p Publish) Protocol() string {
	if p.UDP {
		return "udp"
	}
	return "tcp"
}

// String is the inverse of ParsePublish.
func (p Publish) String() string {
	return fmt.Sprintf("%v:%d/%s", p.Host, p.Guest, p.Protocol())
}

func port(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q: want a number from 1 to 65535", s)
	}
	return uint16(n), nil
}

func cutLast(s string, c byte) (before, after string, ok bool) {
	if i := strings.LastIndexByte(s, c); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return "", s, false
}
