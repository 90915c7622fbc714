package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

const plainTap = unix.IFF_TAP | unix.IFF_NO_PI

// spoil leaves settings on the interface as its last user may have: those of a
// virtual machine monitor whose guest takes packets without checksums, and those
// that drop packets.
func spoil(t *testing.T, fd int) {
	t.Helper()
	const csum, tso4, tso6, tsoECN = 1, 2, 4, 8 // TUN_F_* (linux/if_tun.h)
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, csum|tso4|tso6|tsoECN); err != nil {
		t.Fatalf("TUNSETOFFLOAD: %v", err)
	}
	filter := [10]byte{2: 1, 4: 2, 9: 99} // struct tun_filter: the address 02:00:00:00:00:63 alone
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETTXFILTER, uintptr(unsafe.Pointer(&filter))); errno != 0 {
		t.Fatalf("TUNSETTXFILTER: %v", errno)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETSNDBUF, 1); err != nil {
		t.Fatalf("TUNSETSNDBUF: %v", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETCARRIER, 0); err != nil {
		t.Fatalf("TUNSETCARRIER: %v", err)
	}
	for _, set := range [][2]int{{unix.TUNSETVNETHDRSZ, 12}, {unix.TUNSETVNETLE, 1}, {unix.TUNSETVNETBE, 0}, {unix.TUNSETDEBUG, 1}, {unix.TUNSETNOCSUM, 1}} {
		unix.IoctlSetPointerInt(fd, uint(set[0]), set[1]) // some kernels lack some
	}
	pass := unix.SockFilter{Code: unix.BPF_RET, K: 20} // shortens
	prog := unix.SockFprog{Len: 1, Filter: &pass}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNATTACHFILTER, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		t.Fatalf("TUNATTACHFILTER: %v", errno)
	}
	if os.Getuid() == 0 {
		drop := dropAll(t)
		defer unix.Close(drop)
		if err := unix.IoctlSetPointerInt(fd, unix.TUNSETFILTEREBPF, drop); err != nil {
			t.Fatalf("TUNSETFILTEREBPF: %v", err)
		}
		if err := unix.IoctlSetPointerInt(fd, unix.TUNSETSTEERINGEBPF, drop); err != nil { // all to the first queue
			t.Fatalf("TUNSETSTEERINGEBPF: %v", err)
		}
	}
}

// dropAll loads a socket filter that lets nothing pass.
func dropAll(t *testing.T) int {
	t.Helper()
	code := [...]uint64{0xb7, 0x95} // r0 = 0; exit
	license := []byte("ISC\x00")
	attr := struct {
		kind, count   uint32
		code, license uint64
		_             [96]byte
	}{kind: unix.BPF_PROG_TYPE_SOCKET_FILTER, count: 2,
		code: uint64(uintptr(unsafe.Pointer(&code))), license: uint64(uintptr(unsafe.Pointer(&license[0])))}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		t.Fatalf("bpf: %v", errno)
	}
	return int(fd)
}

// TestTapAsNew has taps that an earlier user left with settings of its own: guests
// get every packet, with its checksum.
func TestTapAsNew(t *testing.T) {
	const name = "tap0"
	for _, credential := range []*syscall.Credential{nil, nobody()} {
		for _, attachment := range []string{name, "@3"} {
			for way, c := range allWays(t, "--net", "stdin="+attachment) {
				if credential != nil && way != "run" { // /dev/kvm, and where the sealed one is, are ours
					continue
				}
				t.Run(fmt.Sprint(way, " ", attachment, " other user ", credential != nil), func(t *testing.T) {
					needKVM(t, way)
					testhost.Netns(t)
					if credential != nil {
						tunForAll(t)
					}
					fd := testhost.OpenTap(t, name, plainTap|unix.IFF_VNET_HDR)
					if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
						t.Fatal(err)
					}
					if credential != nil {
						if err := unix.IoctlSetInt(fd, unix.TUNSETOWNER, int(credential.Uid)); err != nil {
							t.Fatal(err)
						}
						c.Attr = &syscall.SysProcAttr{Credential: credential}
					}
					testhost.Up(t, name, 1500)
					testhost.Address(t, name, netip.MustParsePrefix("10.9.9.1/24"))
					spoil(t, fd)
					unix.Close(fd)
					c.Files = []*os.File{testhost.Null(t), testhost.Memfd(t), testhost.Memfd(t)}
					if attachment == "@3" {
						fd = testhost.OpenTap(t, name, plainTap)
						spoil(t, fd)
						c.Files = append(c.Files, os.NewFile(uintptr(fd), name))
					}
					datagramArrives(t, c, c.Start(t))
					for _, f := range c.Files[3:] {
						f.Close()
					}
				})
			}
		}
	}
}

// datagramArrives sends datagrams to a cat on the tap until one has arrived, and
// checks that.
func datagramArrives(t *testing.T, c *testhost.Command, p *testhost.Process) {
	t.Helper()
	const payload = "a datagram to all"
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		got := testhost.Contents(t, c.Files[1])
		if at := strings.Index(got, payload); at >= 28 {
			if at >= 42 && got[at-30:at-28] != "\x08\x00" {
				t.Errorf("the frame begins with % x", got[at-42:at])
			}
			checkUDP(t, []byte(got[at-28:at+len(payload)]))
			return
		}
		if !p.Running() || time.Now().After(deadline) {
			t.Fatalf("nothing arrived; stdout %q, stderr %q", got, testhost.Contents(t, c.Files[2]))
		}
		// A socket of its own for each: with several queues, the port says which.
		sock, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.SetsockoptInt(sock, unix.SOL_SOCKET, unix.SO_BROADCAST, 1); err != nil {
			t.Fatal(err)
		}
		unix.Sendto(sock, []byte(payload), 0, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{10, 9, 9, 255}})
		unix.Close(sock)
	}
}

// TestTapDetached has an inherited tap whose queue was detached.
func TestTapDetached(t *testing.T) {
	for way, c := range allWays(t, "--net", "stdin=@3") {
		t.Run(way, func(t *testing.T) {
			needKVM(t, way)
			testhost.Netns(t)
			fd := testhost.OpenTap(t, "tap2", plainTap|unix.IFF_MULTI_QUEUE)
			testhost.Up(t, "tap2", 1500)
			testhost.Address(t, "tap2", netip.MustParsePrefix("10.9.9.1/24"))
			r, err := unix.NewIfreq("none")
			if err != nil {
				t.Fatal(err)
			}
			r.SetUint16(unix.IFF_DETACH_QUEUE)
			if err := unix.IoctlIfreq(fd, unix.TUNSETQUEUE, r); err != nil {
				t.Fatal(err)
			}
			c.Files = []*os.File{testhost.Null(t), testhost.Memfd(t), testhost.Memfd(t), os.NewFile(uintptr(fd), "tap2")}
			datagramArrives(t, c, c.Start(t))
			c.Files[3].Close()
		})
	}
}

// TestTapSteered has a tap with two queues of which a program has left all packets to
// the other one.
func TestTapSteered(t *testing.T) {
	testhost.NeedRoot(t, "to load a program")
	for way, c := range allWays(t, "--net", "stdin=@3") {
		t.Run(way, func(t *testing.T) {
			needKVM(t, way)
			testhost.Netns(t)
			other := testhost.OpenTap(t, "tap2", plainTap|unix.IFF_MULTI_QUEUE)
			defer unix.Close(other)
			ours := testhost.OpenTap(t, "tap2", plainTap|unix.IFF_MULTI_QUEUE)
			testhost.Up(t, "tap2", 1500)
			testhost.Address(t, "tap2", netip.MustParsePrefix("10.9.9.1/24"))
			spoil(t, ours)
			c.Files = []*os.File{testhost.Null(t), testhost.Memfd(t), testhost.Memfd(t), os.NewFile(uintptr(ours), "tap2")}
			datagramArrives(t, c, c.Start(t))
			c.Files[3].Close()
		})
	}
}

// TestTapRefused has taps in states that gocat cannot undo: one line says so.
func TestTapRefused(t *testing.T) {
	for name, test := range map[string]struct {
		attachment, want string
		spoil            func(fd int) error
	}{
		"link type": {"@3", "its link type is not Ethernet's", func(fd int) error {
			return unix.IoctlSetInt(fd, unix.TUNSETLINK, unix.ARPHRD_IEEE80211)
		}},
		"link type, by name": {"tap3", "its link type is not Ethernet's", func(fd int) error {
			return errors.Join(unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1), unix.IoctlSetInt(fd, unix.TUNSETLINK, unix.ARPHRD_NONE))
		}},
	} {
		for way, c := range allWays(t, "--net", "stdin="+test.attachment) {
			t.Run(name+" "+way, func(t *testing.T) {
				needKVM(t, way)
				testhost.Netns(t)
				fd := testhost.OpenTap(t, "tap3", plainTap)
				if err := test.spoil(fd); err != nil {
					t.Fatal(err)
				}
				testhost.Up(t, "tap3", 1500)
				c.Files = []*os.File{testhost.Null(t), testhost.Memfd(t), testhost.Memfd(t), os.NewFile(uintptr(fd), "tap3")}
				if test.attachment == "tap3" {
					c.Files[3].Close()
					c.Files = c.Files[:3]
				}
				status := testhost.Status(c.Start(t).Wait())
				if said := testhost.Contents(t, c.Files[2]); status != 125 || !strings.Contains(said, test.want) || strings.Count(said, "\n") != 1 {
					t.Errorf("status %d, %q; want %q", status, said, test.want)
				}
				for _, f := range c.Files[3:] {
					f.Close()
				}
			})
		}
	}
}

// checkUDP verifies the checksum of a UDP datagram behind an IPv4 header of 20
// bytes.
func checkUDP(t *testing.T, packet []byte) {
	t.Helper()
	sum := uint32(unix.IPPROTO_UDP) + uint32(len(packet)-20)
	for i := 12; i < len(packet); i += 2 { // both addresses, then the datagram
		word := [2]byte{packet[i]}
		copy(word[:], packet[i:min(i+2, len(packet))])
		sum += uint32(binary.BigEndian.Uint16(word[:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	if sum != 0xffff || binary.BigEndian.Uint16(packet[26:]) == 0 {
		t.Errorf("the checksum of % x is wrong: %#x", packet, sum)
	}
}

// tunForAll gives t's goroutine a /dev/net/tun that everybody may open.
func tunForAll(t *testing.T) {
	t.Helper()
	testhost.NeedRoot(t, "to become another user")
	testhost.Tmpfs(t, "/dev/net")
	const path = "/dev/net/tun"
	if err := errors.Join(unix.Mknod(path, unix.S_IFCHR, int(unix.Mkdev(10, 200))), unix.Chmod(path, 0o666)); err != nil {
		t.Fatal(err)
	}
}

// TestInheritedTapHeaders has inherited taps whose frames have headers: they are
// refused in one line, also where a socket filter hides the flag or shows it.
func TestInheritedTapHeaders(t *testing.T) {
	all := allWays(t, "--net", "stdin=@3")
	for _, flags := range []uint16{
		unix.IFF_TAP, unix.IFF_TAP | unix.IFF_VNET_HDR, plainTap | unix.IFF_VNET_HDR,
		unix.IFF_TAP | unix.IFF_MULTI_QUEUE, plainTap | unix.IFF_MULTI_QUEUE | unix.IFF_VNET_HDR,
		unix.IFF_TUN | unix.IFF_NO_PI, unix.IFF_TUN, plainTap, plainTap | unix.IFF_MULTI_QUEUE,
	} {
		for _, filtered := range []bool{false, true} {
			for way, c := range all {
				t.Run(fmt.Sprintf("%s %#x %v", way, flags, filtered), func(t *testing.T) {
					needKVM(t, way)
					testhost.Netns(t)
					fd := testhost.OpenTap(t, "tap1", flags)
					tap := os.NewFile(uintptr(fd), "tap1")
					defer tap.Close()
					if filtered && flags&unix.IFF_TAP != 0 {
						pass := unix.SockFilter{Code: unix.BPF_RET, K: 0xffff}
						prog := unix.SockFprog{Len: 1, Filter: &pass}
						if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNATTACHFILTER, uintptr(unsafe.Pointer(&prog))); errno != 0 {
							t.Fatal(errno)
						}
					}
					testhost.Up(t, "tap1", 1500)
					testhost.Address(t, "tap1", netip.MustParsePrefix("10.9.9.1/24"))
					c := *c
					c.Files = []*os.File{testhost.Null(t), testhost.Memfd(t), testhost.Memfd(t), tap}
					if flags&^unix.IFF_MULTI_QUEUE == plainTap {
						datagramArrives(t, &c, c.Start(t))
						return
					}
					r := c.Run(t)
					r.Stderr = testhost.Contents(t, c.Files[2])
					want := "header before each frame"
					if flags&unix.IFF_TUN != 0 {
						want = "carries IP packets"
					}
					if r.Status != 125 || !strings.Contains(r.Stderr, want) || strings.Count(r.Stderr, "\n") != 1 {
						t.Errorf("%+v, want %q", r, want)
					}
				})
			}
		}
	}
}

// TestTapAlternativeName attaches a tap by an alternative name.
func TestTapAlternativeName(t *testing.T) {
	for way, c := range allWays(t, "--net", "stdin=service") {
		t.Run(way, func(t *testing.T) {
			needKVM(t, way)
			testhost.Netns(t)
			testhost.Tap(t, "tap2", plainTap)
			testhost.Up(t, "tap2", 1500)
			testhost.Address(t, "tap2", netip.MustParsePrefix("10.9.9.1/24"))
			alternativeName(t, "tap2", "service")
			c.Files = []*os.File{testhost.Null(t), testhost.Memfd(t), testhost.Memfd(t)}
			datagramArrives(t, c, c.Start(t))
		})
	}
	r := command("run", "--net", "stdin=a-name-of-more-than-fifteen-bytes").Run(t)
	if r.Status != 125 || !strings.Contains(r.Stderr, "an interface name has at most 15") || strings.Count(r.Stderr, "\n") != 1 {
		t.Errorf("%+v", r)
	}
}

// alternativeName gives an interface another name, as ip link property add does.
func alternativeName(t *testing.T, name, alternative string) {
	t.Helper()
	const newLinkProp, propList, altName, nested = 108, 52, 53, 1 << 15 // linux/rtnetlink.h, linux/if_link.h
	aboutLink(t, newLinkProp, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_APPEND, name,
		attribute(propList|nested, attribute(altName, []byte(alternative+"\x00"))))
}

// aboutLink makes a request of rtnetlink(7) about the interface.
func aboutLink(t *testing.T, request, flags uint16, name string, more []byte) {
	t.Helper()
	sock, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(sock)
	le := binary.LittleEndian
	body := append(make([]byte, unix.SizeofIfInfomsg), attribute(unix.IFLA_IFNAME, []byte(name+"\x00"))...)
	body = append(body, more...)
	message := le.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	message = le.AppendUint16(message, request)
	message = le.AppendUint16(message, unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags)
	message = append(le.AppendUint64(message, 0), body...)
	if err := unix.Sendto(sock, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 4096)
	if n, _, err := unix.Recvfrom(sock, answer, 0); err != nil || n < 20 || le.Uint32(answer[16:]) != 0 {
		t.Fatalf("request %d about %s: %v, % x", request, name, err, answer[:max(n, 0)])
	}
}

// attribute is a struct rtattr with its value.
func attribute(kind uint16, value []byte) []byte {
	b := binary.LittleEndian.AppendUint16(nil, uint16(4+len(value)))
	b = append(binary.LittleEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, -len(b)&3)...)
}

// TestTapDeleted deletes the interface under a guest.
func TestTapDeleted(t *testing.T) {
	needKVM(t, "hvt")
	testhost.Netns(t)
	testhost.Tap(t, "tap3", plainTap)
	testhost.Up(t, "tap3", 1500)
	testhost.Address(t, "tap3", netip.MustParsePrefix("10.9.9.1/24"))
	c := command("run", "--backend=hvt", "--net", "stdin=tap3")
	c.Files = []*os.File{testhost.Null(t), testhost.Memfd(t), testhost.Memfd(t)}
	p := c.Start(t)
	datagramArrives(t, c, p)
	aboutLink(t, unix.RTM_DELLINK, 0, "tap3", nil)
	status := p.Wait()
	if stderr := testhost.Contents(t, c.Files[2]); status.ExitStatus() != 1 || !strings.Contains(stderr, "interface was deleted") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("status %#x, %q", status, stderr)
	}
}
