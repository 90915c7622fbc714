// Package helper is the program gocat-net, the far end of user networks.
//
// gocat-net start does what takes the user's rights: it opens published ports and
// reads the host's resolver. Then it starts gocat-net serve, or finds the one that
// serves the network already, hands everything over, and ends. So the process
// that serves is nobody's child but init's, who waits for it. gocat-net serve
// confines itself before it takes the first frame.
package helper

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/isolate"
	"gocat/internal/usernet"
)

// Main is the program. It returns the exit status.
func Main(args []string) int {
	var err error
	switch {
	case len(args) > 1 && args[1] == "start":
		err = start(args[2:])
	case len(args) == 2 && args[1] == "serve":
		err = serve()
	case len(args) == 2 && args[1] == "watch":
		err = watchGuest()
	case len(args) == 3 && args[1] == "check":
		err = check(args[2])
	case len(args) == 5 && args[1] == "attack":
		err = attack(args[2], args[3], args[4])
	default:
		err = errors.New("gocat-net is a part of gocat, which starts it for --net NAME=user; see gocat run --help")
	}
	if err != nil {
		os.Stderr.WriteString(usernet.Prefix + strings.ReplaceAll(err.Error(), "\n", " ") + "\n")
		return 1
	}
	return 0
}

func start(args []string) error {
	r, err := usernet.ParseRequest(args)
	if err != nil {
		return err
	}
	r.Boot = os.Getenv(device.BootVariable) != ""
	config, publish, err := r.Check()
	if err != nil {
		return err
	}
	keepDescriptors()
	var ports map[int]int
	if len(publish) > 0 {
		if ports, err = passed(r, publish); err != nil {
			return err
		}
	}
	fds := []int{device.UserFrames}
	for i, p := range publish {
		fd, ok := ports[i]
		if !ok {
			if fd, err = open(p); err != nil {
				return err
			}
		}
		fds = append(fds, fd)
	}
	if config.Idle > 0 && !r.Keep {
		end, err := watch()
		if err != nil {
			return err
		}
		fds = append(fds, end)
	}
	m := join{Request: *r, Nameservers: nameservers(), Route6: route6()}
	var answer joined
	if config.Network == "" {
		answer, err = begin(nil, m, fds)
	} else {
		answer, err = together(config.Network, m, fds)
	}
	if err != nil {
		return err
	}
	if answer.Error != "" {
		return errors.New(printable(answer.Error))
	}
	if r.Verbose {
		for _, line := range answer.Say {
			os.Stderr.WriteString(printable(line) + "\n")
		}
	}
	if _, err := unix.Write(device.UserReady, []byte{1}); err != nil {
		return os.NewSyscallError("write", err)
	}
	return nil
}

// keepDescriptors keeps the serving process from inheriting what this one did:
// the guest's caller may have had anything open.
func keepDescriptors() {
	const first, last = device.UserFrames, 1 << 16
	if unix.CloseRange(first, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	for fd := first; fd < last; fd++ { // before Linux 5.11
		unix.CloseOnExec(fd)
	}
}

// open makes the socket of a published port.
func open(p usernet.Publish) (int, error) {
	domain, sa := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(p.Host.Port()), Addr: [4]byte(p.Host.Addr().AsSlice()[:4])})
	if p.Host.Addr().Is6() {
		s := &unix.SockaddrInet6{Port: int(p.Host.Port()), Addr: p.Host.Addr().As16()}
		if zone := p.Host.Addr().Zone(); zone != "" {
			i, err := net.InterfaceByName(zone)
			if err != nil {
				return -1, fmt.Errorf("publish %v: no interface %q", p, zone)
			}
			s.ZoneId = uint32(i.Index)
		}
		domain, sa = unix.AF_INET6, s
	}
	typ := unix.SOCK_STREAM
	if p.UDP {
		typ = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(domain, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("publish %v: socket: %w", p, err)
	}
	if !p.UDP {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if p.UDP { // bursts wait here while the process is not scheduled
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, device.UserBuffer)
	}
	if domain == unix.AF_INET6 {
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	// A guest that has just ended may still have it.
	for end := time.Now().Add(leaveTime); ; time.Sleep(leaveTime / 50) {
		if err = unix.Bind(fd, sa); err != unix.EADDRINUSE || time.Now().After(end) {
			break
		}
	}
	if err == nil && !p.UDP {
		err = unix.Listen(fd, backlog)
	}
	if err == nil {
		return fd, nil
	}
	hint := ""
	switch err {
	case unix.EADDRINUSE:
		hint = "; another program has the port: end it, or publish another"
	case unix.EACCES, unix.EPERM:
		hint = fmt.Sprintf("; ports below %s take privilege (net.ipv4.ip_unprivileged_port_start): publish a higher one", firstFree())
	case unix.EADDRNOTAVAIL:
		hint = "; the host does not have this address"
	}
	return -1, fmt.Errorf("publish %v: %w%s", p, err, hint)
}

// backlog is how many connections to a published port may wait to be taken, as
// far as net.core.somaxconn lets it.
const backlog = 4096

// leaveTime is how long the network of a guest that has ended may take to close its
// ports.
const leaveTime = 500 * time.Millisecond

// firstFree is the first port that users may listen on.
func firstFree() string {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		return "1024"
	}
	return strings.TrimSpace(string(b))
}

// maxNameservers is how many of the host's name servers are asked (resolv.conf(5)).
const maxNameservers = 3

// nameservers reads the host's name servers.
func nameservers() (list []netip.AddrPort) {
	b, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" || len(list) == maxNameservers {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			list = append(list, netip.AddrPortFrom(a, 53))
		}
	}
	return list
}

// route6 reports whether the host has a route to IPv6 addresses outside. It sends
// nothing: connecting a datagram socket only looks for the route.
func route6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	outside := netip.MustParseAddr("2000::1").As16()
	return unix.Connect(fd, &unix.SockaddrInet6{Port: 53, Addr: outside}) == nil
}

// begin starts a process that serves a network for the guest; see launch. A seccomp
// filter around gocat may kill for calls that confine: if the process ends without
// a word, another tries fewer of them.
func begin(listener *os.File, m join, fds []int) (answer joined, err error) {
	attempts := []isolate.Set{0}
	if isolate.ThisHost("").Filtered {
		attempts = append(attempts, isolate.Of(isolate.Root), isolate.Of(isolate.Root, isolate.Landlock))
	}
	for _, untried := range attempts {
		c, together, err := launch(listener, listener != nil)
		if err != nil {
			return answer, err
		}
		m.Together, m.Untried = together, untried
		answer, err = ask(c, m, fds)
		c.Close()
		if !errors.Is(err, io.EOF) && !errors.Is(err, unix.EPIPE) {
			return answer, err
		}
	}
	return answer, errors.New("the user network's process ends before it begins: a seccomp filter around gocat may kill it")
}

// together joins the network of that name, or makes it.
func together(id string, m join, fds []int) (joined, error) {
	uid := unix.Geteuid()
	if mapped, err := os.ReadFile("/proc/self/uid_map"); err == nil && len(strings.Fields(string(mapped))) == 0 {
		return joined{}, errors.New("network=" + id + ": a user namespace without users cannot tell whose network it is; be isolated less, or leave out network=")
	}
	address := &net.UnixAddr{Net: "unixpacket", Name: "@gocat-net/" + strconv.Itoa(uid) + "/" + id}
	for deadline := time.Now().Add(answerTimeout); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if c, err := net.DialUnix("unixpacket", nil, address); err == nil {
			owner, err := peer(c)
			if err == nil && int(owner) != uid {
				c.Close()
				return joined{}, fmt.Errorf("network=%s: user %d has taken its place; choose another name", id, owner)
			}
			answer, err := ask(c, m, fds)
			c.Close()
			if err == nil {
				return answer, nil
			}
			continue // it has just ended
		}
		l, err := net.ListenUnix("unixpacket", address)
		if errors.Is(err, unix.EADDRINUSE) {
			continue // somebody else is about to begin
		}
		if err != nil {
			return joined{}, fmt.Errorf("network=%s: %w", id, err)
		}
		file, err := l.File()
		l.Close()
		if err != nil {
			return joined{}, err
		}
		defer file.Close()
		return begin(file, m, fds)
	}
	return joined{}, fmt.Errorf("network=%s: the process that serves it does not answer", id)
}

func ask(c *net.UnixConn, m join, fds []int) (answer joined, err error) {
	if err := send(c, m, fds...); err != nil {
		return answer, fmt.Errorf("user network: %w", err)
	}
	if _, err := receive(c, &answer); err != nil {
		return answer, fmt.Errorf("the user network's process does not answer: %w", err)
	}
	return answer, nil
}
