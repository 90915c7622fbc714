package serve

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"gocat/internal/device"
	"gocat/internal/tender"
)

// Guest is what has to be known of a sealed guest.
type Guest struct {
	Name string
	User device.UserDevice
	MTU  uint16
}

// Of reads it from a sealed guest's description: a guest with one network device,
// that has a user network.
func Of(facts []tender.Fact) (s Guest, err error) {
	nets := 0
	for _, f := range facts {
		switch f.Name {
		case "process":
			s.Name = f.Value
		case "publish":
			s.User.Publish = append(s.User.Publish, f.Value)
		case "net", "block":
			name, rest, _ := strings.Cut(f.Value, "=")
			if strings.HasPrefix(rest, "@") {
				return s, fmt.Errorf("its device %s is descriptor %s, which nobody gives it here", name, rest[:strings.IndexByte(rest+",", ',')])
			}
			if f.Name == "block" {
				continue
			}
			nets++
			if err := s.net(name, rest); err != nil {
				return s, err
			}
		}
	}
	switch {
	case nets == 0 || s.User.Spec == "":
		return s, errors.New("it has no user network: seal it with --net NAME=user --publish HOST:GUEST")
	case nets > 1:
		return s, errors.New("it has several network devices; only one is possible here")
	}
	s.User.Guest = s.Name
	return s, nil
}

// net reads SPEC, mac MAC, mtu MTU.
func (s *Guest) net(name, value string) error {
	spec, addresses, ok := strings.Cut(value, ", mac ")
	mac, mtu, ok2 := strings.Cut(addresses, ", mtu ")
	address, err := net.ParseMAC(mac)
	n, err2 := strconv.ParseUint(mtu, 10, 16)
	if !ok || !ok2 || err != nil || err2 != nil || len(address) != len(s.User.MAC) {
		return fmt.Errorf("what it says of device %s cannot be read: seal it with this gocat", tender.OneLine(name))
	}
	if device.IsUser(spec) {
		s.User.Name, s.User.Spec, s.User.MAC, s.MTU = name, spec, [6]byte(address), uint16(n)
	}
	return nil
}

// setting is the variable by which the guest knows that descriptor fd is its network.
func (s *Guest) setting(fd int) string {
	d := device.Device{Name: s.User.Name, FD: fd, MTU: s.MTU, MAC: s.User.MAC}
	return device.HandedVariable + "=" + string(device.NewHanded.Hand(&d))
}
