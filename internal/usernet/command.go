package usernet

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Request is what gocat-net start is asked for.
type Request struct {
	Spec    string   // user,...
	Publish []string // as --publish has them
	Device  string   // the guest's name of the device, for messages
	Guest   string   // the guest's name, for its neighbours
	MAC     [6]byte
	Taken   []int // descriptors that are other devices, of those that were passed
	Verbose bool
	Keep    bool // the network serves one guest after the other (Keep)
	Boot    bool // device.BootVariable is set
}

// Args is the command line of gocat-net, its name included.
func (r *Request) Args() []string {
	args := []string{"gocat-net", "start", "--net", r.Spec, "--device", r.Device, "--guest", r.Guest,
		"--mac", net.HardwareAddr(r.MAC[:]).String()}
	for _, p := range r.Publish {
		args = append(args, "--publish", p)
	}
	for _, n := range r.Taken {
		args = append(args, "--taken", strconv.Itoa(n))
	}
	if r.Verbose {
		args = append(args, "--verbose")
	}
	return args
}

// ParseRequest reads what Args made, without the first two.
func ParseRequest(args []string) (*Request, error) {
	r := &Request{}
	for len(args) > 0 {
		name := args[0]
		args = args[1:]
		switch name {
		case "--verbose":
			r.Verbose = true
			continue
		case "--keep":
			r.Keep = true
			continue
		}
		if len(args) == 0 {
			return nil, fmt.Errorf("%s needs a value", name)
		}
		value := args[0]
		args = args[1:]
		switch name {
		case "--net":
			r.Spec = value
		case "--device":
			r.Device = value
		case "--guest":
			r.Guest = value
		case "--publish":
			r.Publish = append(r.Publish, value)
		case "--taken":
			n, err := strconv.Atoi(value)
			if err != nil {
				return nil, fmt.Errorf("--taken: %w", err)
			}
			r.Taken = append(r.Taken, n)
		case "--mac":
			mac, err := net.ParseMAC(value)
			if err != nil || len(mac) != len(r.MAC) {
				return nil, fmt.Errorf("--mac: %q is no address", value)
			}
			r.MAC = [6]byte(mac)
		default:
			return nil, fmt.Errorf("unknown option %s", name)
		}
	}
	return r, nil
}

// Check parses a request's options.
func (r *Request) Check() (Config, []Publish, error) {
	c, err := Parse(r.Spec)
	if err != nil {
		return c, nil, err
	}
	if r.Keep && c.Network != "" {
		return c, nil, errors.New("a network that serves one guest after the other cannot be shared: leave out network=")
	}
	publish, err := CheckPublish(r.Publish)
	if r.Boot {
		c.Idle, publish = 0, nil
	}
	return c, publish, err
}

// CheckPublish parses all values of --publish.
func CheckPublish(values []string) (all []Publish, err error) {
	if len(values) > MaxPublish {
		return nil, fmt.Errorf("--publish: %d ports; at most %d are possible", len(values), MaxPublish)
	}
	for _, s := range values {
		p, err := ParsePublish(s)
		if err != nil {
			return nil, fmt.Errorf("--publish: %w", err)
		}
		for _, q := range all {
			if q.Host == p.Host && q.UDP == p.UDP {
				return nil, fmt.Errorf("--publish: port %v/%s is published twice", p.Host, p.Protocol())
			}
		}
		all = append(all, p)
	}
	return all, nil
}

// Prefix begins the line in which gocat-net says what went wrong, which is all
// that the user of a sealed guest sees.
const Prefix = "gocat: "

var errNoReply = errors.New("the user network's process ended before it began")

// oneLine is the first line of a message.
func oneLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
