package device

import (
	"errors"
	"fmt"
	"strings"

	"gocat/internal/raw"
)

// UserDevice is a network device that gets a user network.
type UserDevice struct {
	Name    string   // the device's
	Guest   string   // the guest's
	Spec    string   // user,... as --net has it
	Publish []string // as --publish has them
	MAC     [6]byte
	Taken   []int        // descriptors above the standard ones that are other devices
	Program string       // which makes it, "" for the one beside gocat
	Say     func(string) // unless nil, told in lines what the guest got
}

// The descriptors with which a user network's process starts, besides the
// standard ones.
const (
	UserFrames = 3 // its end of the device's seqpacket socket: a frame a packet
	UserReady  = 4 // a pipe that gets one byte when the network is there
	UserPassed = 5 // what this process had from FirstPassed on, as far as it may be ports
)

// FirstPassed is the first descriptor that a service manager passes
// (sd_listen_fds(3)).
const FirstPassed = 3

// MayBePassed is how many descriptors from FirstPassed on may be sockets for the
// device's published ports: one for each, if other devices are among them.
func (u *UserDevice) MayBePassed() int {
	if len(u.Publish) == 0 {
		return 0
	}
	return len(u.Publish) + len(u.Taken)
}

// UserBuffer is how many bytes of frames may wait in each direction of a user
// network's socket, as far as net.core.wmem_max lets it.
const UserBuffer = 4 << 20

// UserNetworkMaker makes user networks.
type UserNetworkMaker struct {
	Check   func(spec string, publish []string) (mtu uint16, _ error) // syntax
	Start   func(*UserDevice) (fd int, err error)                     // a seqpacket socket, close-on-exec and not blocking
	Command func(*UserDevice) (path string, args []string, _ error)   // what Start starts
}

// UserNetwork makes them. Package gocat/internal/usernet sets it when it is
// initialised, so early there is none.
var UserNetwork UserNetworkMaker

var errNoUserNetwork = errors.New("no user networks in this program")

// IsUser reports whether the value of a --net option asks for a user network.
func IsUser(value string) bool {
	return value == "user" || len(value) > len("user,") && value[:len("user,")] == "user,"
}

// SetNetUser takes NAME=user[,OPTION...].
func (o *Options) SetNetUser(s string) error {
	name, value, err := split(s, "NAME=user")
	if err != nil {
		return err
	}
	if h := o.Handed.find(name); h != "" {
		return o.setHanded(name, h)
	}
	if UserNetwork.Check == nil {
		return errNoUserNetwork
	}
	mtu, err := UserNetwork.Check(value, nil)
	if err != nil {
		return fmt.Errorf("net %s: %w", quote(name), err)
	}
	n := o.net(name)
	n.user, n.userMTU, n.iface, n.fd, n.inherited = value, mtu, "", 0, false
	return nil
}

// SetPublish takes [IP:]HOST:GUEST[/udp], a port of the host that leads to the
// guest: through the first device, in the manifest's order, that has a user
// network.
func (o *Options) SetPublish(s string) error {
	if o.Handed != "" {
		return nil // the network's process has them
	}
	if UserNetwork.Check == nil {
		return errNoUserNetwork
	}
	all := raw.Append(raw.Clone(o.publish), s)
	if _, err := UserNetwork.Check("user", all); err != nil {
		return err
	}
	o.publish = all
	return nil
}

// ErrNowhere means that ports are published but no device has a user network to
// lead them to.
var ErrNowhere = errors.New("no network device has a user network")

// attachUser fills in what concerns user networks, and refuses published ports
// without one that they lead into.
func (o *Options) attachUser(devices []Device) error {
	publish := o.publish
	var taken []int
	for i := range devices {
		if d := &devices[i]; d.Inherited && d.FD >= FirstPassed {
			taken = raw.Append(taken, d.FD)
		}
	}
	for i := range devices {
		d := &devices[i]
		if d.User == nil {
			continue
		}
		d.User.Taken = taken
		d.User.Publish, publish = publish, nil
		d.User.Guest, d.User.MAC, d.User.Say = o.Guest, d.MAC, o.Say
		mtu := o.net(d.Name).userMTU
		if d.MTU == 0 || d.MTU > mtu { // longer packets would not get through
			d.MTU = mtu
		}
	}
	if len(publish) > 0 {
		return fmt.Errorf("publish %s: %w", publish[0], ErrNowhere)
	}
	return nil
}

// openUser starts the device's network.
func (d *Device) openUser() error {
	if UserNetwork.Start == nil {
		return errNoUserNetwork
	}
	fd, err := UserNetwork.Start(d.User)
	if err != nil {
		return err
	}
	if fd, err = aboveStdio(fd); err != nil {
		return err
	}
	d.FD, d.Kind, d.Writable = fd, SeqPacket, true
	return nil
}

// HandedVariable is the environment variable that has Handed, and HandedWord how its
// setting begins, as a word of memory.
const (
	HandedVariable = "GOCAT_RESTARTED"
	HandedWord     = uint64('G') | 'O'<<8 | 'C'<<16 | 'A'<<24 | 'T'<<32 | '_'<<40 | 'R'<<48 | 'E'<<56
)

// BootVariable is the environment variable that is set where a guest is only started to
// be sealed as it then is: nobody outside reaches it, and it is not idle.
const BootVariable = "GOCAT_BOOT"

// NewHanded has no network yet.
const NewHanded Handed = "gocat,"

// Handed are user networks that a process has started for the program that it then
// executes: NAME=FD:MTU:MAC for each, with commas between.
type Handed string

// Hand adds a device with a user network.
func (h Handed) Hand(d *Device) Handed {
	m := d.MAC
	return h + Handed(fmt.Sprintf("%s=%d:%d:%02x:%02x:%02x:%02x:%02x:%02x,", d.Name, d.FD, d.MTU, m[0], m[1], m[2], m[3], m[4], m[5]))
}

// find returns what was handed for the device called name, or "".
func (h Handed) find(name string) string {
	for rest := string(h); rest != ""; {
		var one string
		one, rest, _ = strings.Cut(rest, ",")
		if found, value, _ := strings.Cut(one, "="); found == name {
			return value
		}
	}
	return ""
}

// setHanded makes the socket that was handed the network device called name.
func (o *Options) setHanded(name, handed string) error {
	fd, rest, _ := strings.Cut(handed, ":")
	mtu, mac, _ := strings.Cut(rest, ":")
	if err := o.SetNet(raw.Concat(name, "=@", fd)); err != nil {
		return err
	}
	if err := o.SetNetMTU(raw.Concat(name, "=", mtu)); err != nil {
		return err
	}
	return o.SetNetMAC(raw.Concat(name, "=", mac))
}
