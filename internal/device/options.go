package device

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/raw"
)

// Limits of a block device's sector size in bytes. The largest is the last
// power of two that the manifest's 16-bit field holds.
const (
	minSector = 512
	maxSector = 32768
)

// Options collects what the user wants attached to each device. The zero value
// attaches nothing.
//
// Every Set method takes one NAME=VALUE argument, checks its syntax immediately
// and touches nothing on the host. The last setting of a name wins, as in
// Solo5's tenders; whether the guest declares the name is for Attach to say.
type Options struct {
	// AllowCloexec lets @FD name a descriptor with FD_CLOEXEC set. Such a
	// descriptor cannot have come through exec, so for a command it is one
	// of the command's own and the user's number is a mistake; a program
	// that opens descriptors itself sets this.
	AllowCloexec bool

	Guest string       // the guest's name, for its neighbours in a user network
	Say   func(string) // unless nil, told in lines what a user network gave the guest

	Handed      Handed // user networks that are there already
	UserProgram string // the program that makes user networks; "" for the one beside gocat

	publish []string // --publish
	nets    []netOption
	blocks  []blockOption
}

type netOption struct {
	name    string
	iface   string // a tap's name
	user    string // the settings of a user network
	userMTU uint16 // its MTU
	fd      int    // when inherited
	// not inherited, iface == "" and user == "" together say that nothing was attached yet.
	inherited bool
	mac       [6]byte // all zero: none given
	mtu       uint16  // 0: none given
}

type blockOption struct {
	name string
	path string
	fd   int // when inherited
	// not inherited and path == "" together say that nothing was attached yet.
	inherited bool
	sector    uint16 // 0: none given
}

// SetNet takes NAME=IFACE (a tap) or NAME=@FD (an inherited descriptor).
func (o *Options) SetNet(s string) error {
	name, value, err := split(s, "NAME=IFACE or NAME=@FD")
	if err != nil {
		return err
	}
	if number, ok := strings.CutPrefix(value, "@"); ok {
		fd, err := strconv.ParseUint(number, 10, 31)
		if err != nil {
			return fmt.Errorf("net %s: descriptor %q: want @ and a decimal number from 0 to 2147483647", quote(name), value)
		}
		n := o.net(name)
		n.iface, n.user, n.fd, n.inherited = "", "", int(fd), true
		return nil
	}
	if err := checkInterface(value); err != nil {
		return fmt.Errorf("net %s: %w", quote(name), err)
	}
	n := o.net(name)
	n.iface, n.user, n.fd, n.inherited = value, "", 0, false
	return nil
}

// checkInterface applies the kernel's rules for interface names (net/core/dev.c
// dev_valid_name), and refuses the patterns that TUNSETIFF would expand.
func checkInterface(s string) error {
	switch {
	case s == "" || s == "." || s == "..":
		return fmt.Errorf("interface %q: want the name of a tap, or @ and the number of a descriptor", s)
	case len(s) >= unix.IFNAMSIZ:
		return fmt.Errorf("interface %q: %d bytes long; an interface name has at most %d; a longer one is an alternative name, and ip link show NAME has the other", s, len(s), unix.IFNAMSIZ-1)
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '%':
			return fmt.Errorf("interface %q: '%%' is a pattern, not a name; name one existing interface", s)
		case c <= ' ' || c == '/' || c == ':' || c == 0x7f || c == 0xa0:
			return fmt.Errorf("interface %q: an interface name has no byte %#02x", s, c)
		}
	}
	return nil
}

// SetNetMAC takes NAME=MAC, six pairs of hexadecimal digits with colons
// between: the address the guest is told.
func (o *Options) SetNetMAC(s string) error {
	name, value, err := split(s, "NAME=MAC")
	if err != nil {
		return err
	}
	mac, err := parseMAC(value)
	if err != nil {
		return fmt.Errorf("net %s: %w", quote(name), err)
	}
	o.net(name).mac = mac
	return nil
}

func parseMAC(s string) (mac [6]byte, err error) {
	ok := len(s) == 17
	for i := 0; ok && i < len(s); i++ {
		if i%3 == 2 {
			ok = s[i] == ':'
			continue
		}
		digit, isHex := unhex(s[i])
		ok = isHex
		mac[i/3] = mac[i/3]<<4 | digit
	}
	switch {
	case !ok:
		return mac, fmt.Errorf("MAC address %q: want six pairs of hexadecimal digits, as in 02:00:00:00:00:01", s)
	case mac == [6]byte{}:
		return mac, fmt.Errorf("MAC address %q: all zero is no interface's address", s)
	case mac[0]&1 != 0:
		return mac, fmt.Errorf("MAC address %q: a multicast address (first byte odd); an interface's is unicast", s)
	}
	return mac, nil
}

func unhex(c byte) (digit byte, ok bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// SetNetMTU takes NAME=BYTES, 1 to 65535: the MTU the guest is told, instead of
// the tap's own or DefaultMTU. The host's interface is left as it is.
func (o *Options) SetNetMTU(s string) error {
	name, value, err := split(s, "NAME=BYTES")
	if err != nil {
		return err
	}
	mtu, err := strconv.ParseUint(value, 10, 16)
	if err != nil || mtu == 0 {
		return fmt.Errorf("net %s: MTU %q: want a number of bytes from 1 to 65535", quote(name), value)
	}
	o.net(name).mtu = uint16(mtu)
	return nil
}

// SetBlock takes NAME=PATH, a regular file or a block device, or NAME=@FD, an
// inherited descriptor of one. If the descriptor is open for reading only, the
// guest's writes fail.
func (o *Options) SetBlock(s string) error {
	name, value, err := split(s, "NAME=PATH or NAME=@FD")
	if err != nil {
		return err
	}
	if number, ok := strings.CutPrefix(value, "@"); ok {
		fd, err := strconv.ParseUint(number, 10, 31)
		if err != nil {
			return fmt.Errorf("block %s: descriptor %q: want @ and a decimal number from 0 to 2147483647; a file of that name is %q", quote(name), value, "./"+value)
		}
		b := o.block(name)
		b.path, b.fd, b.inherited = "", int(fd), true
		return nil
	}
	if value == "" || strings.IndexByte(value, 0) >= 0 {
		return fmt.Errorf("block %s: path %q: want the path of a file or block device", quote(name), value)
	}
	b := o.block(name)
	b.path, b.fd, b.inherited = value, 0, false
	return nil
}

// SetBlockSectorSize takes NAME=BYTES, a power of two from 512 to 32768.
func (o *Options) SetBlockSectorSize(s string) error {
	name, value, err := split(s, "NAME=BYTES")
	if err != nil {
		return err
	}
	size, err := strconv.ParseUint(value, 10, 16)
	if err != nil || size < minSector || size > maxSector || size&(size-1) != 0 {
		return fmt.Errorf("block %s: Block size must be a multiple of 2 greater than or equal 512 (a power of two, at most %d), not %q", quote(name), maxSector, value)
	}
	o.block(name).sector = uint16(size)
	return nil
}

// split cuts NAME=VALUE and checks the name.
func split(s, want string) (name, value string, err error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok {
		return "", "", fmt.Errorf("%q: want %s", s, want)
	}
	if err := checkName(name); err != nil {
		return "", "", fmt.Errorf("%q: %w", s, err)
	}
	return name, value, nil
}

var (
	errNameLength = errors.New("a device name has 1 to 67 letters and digits")
	errNameBytes  = errors.New("a device name has letters and digits only")
)

func checkName(name string) error {
	if name == "" || len(name) > image.MaxName {
		return errNameLength
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return errNameBytes
		}
	}
	return nil
}

// net returns the settings of a network device, made if needed. The pointer is
// good until the next call.
func (o *Options) net(name string) *netOption {
	for i := range o.nets {
		if o.nets[i].name == name {
			return &o.nets[i]
		}
	}
	o.nets = raw.Append(o.nets, netOption{name: name})
	return &o.nets[len(o.nets)-1]
}

func (o *Options) block(name string) *blockOption {
	for i := range o.blocks {
		if o.blocks[i].name == name {
			return &o.blocks[i]
		}
	}
	o.blocks = raw.Append(o.blocks, blockOption{name: name})
	return &o.blocks[len(o.blocks)-1]
}

// quote puts a name between single quotes as Solo5's messages have it.
func quote(name string) string { return "'" + name + "'" }
