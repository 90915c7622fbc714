package command_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

// TestBlock has guests read and write files mounted at /dev/solo5.
func TestBlock(t *testing.T) {
	const sector = 512
	text := append([]byte("written by the guest"), make([]byte, sector-20)...)
	probe := func(write guests.Value) []byte {
		p := guests.NewProbe(image.SPT, image.Entry{Name: "data", Type: image.Block}, image.Entry{Name: "more", Type: image.Block})
		read := p.Syscall(unix.SYS_PREAD64, p.DeviceFD(2), guests.N(guests.Scratch), guests.N(sector), guests.N(0))
		read.Check, read.Want, read.Status = guests.Equal, guests.N(sector), 2
		first := p.Load8(guests.N(guests.Scratch))
		first.Check, first.Want, first.Status = guests.Equal, guests.N('m'), 3
		w := p.Syscall(unix.SYS_PWRITE64, p.DeviceFD(1), guests.N(p.Data(text)), guests.N(sector), guests.N(sector))
		w.Check, w.Want, w.Status = guests.Equal, write, 4
		p.Do(read, first, w)
		img, err := p.Image()
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	for _, option := range []string{"rw", "ro"} {
		t.Run(option, func(t *testing.T) {
			want := guests.N(sector)
			if option == "ro" {
				want = guests.Errno(uint64(unix.EBADF))
			}
			b := newBox(t, probe(want))
			b.write("data", make([]byte, 4*sector))
			b.write("more", []byte(strings.Repeat("m", sector)))
			b.mount("/dev/solo5/data", "data", "bind", option)
			b.mount("/dev/solo5/more", "more", "bind", "ro")
			b.save()
			if r := b.do("run", b.id); r.status != 0 {
				t.Errorf("status %d, %s%s", r.status, r.stdout, r.stderr)
			}
			data := string(mustRead(t, filepath.Join(b.bundle, "data")))
			if wrote := strings.HasPrefix(data[sector:], "written by the guest"); wrote != (option == "rw") {
				t.Errorf("mounted %s, the file has %q", option, data[sector:sector+20])
			}
		})
	}
}

// TestLimits shows that the control group has the limits, and that the kernel kills a
// guest that uses more.
func TestLimits(t *testing.T) {
	// It writes to each page from 2 MiB to 128 MiB: mov $0x200000,%edi; movb
	// $1,(%rdi); add $0x1000,%edi; cmp $0x8000000,%edi; jb; and exits with 5.
	greedy := []byte{0xbf, 0, 0, 0x20, 0, 0xc6, 7, 1, 0x81, 0xc7, 0, 0x10, 0, 0, 0x81, 0xff, 0, 0, 0, 8, 0x72, 0xef,
		0xbf, 5, 0, 0, 0, 0xb8, unix.SYS_EXIT_GROUP, 0, 0, 0, 0x0f, 0x05}
	b := newBox(t, coded(t, greedy))
	if r := b.do("run", b.id); r.status != 5 {
		t.Fatalf("without a limit: status %d, %s", r.status, r.stderr)
	}
	b.limit(64 << 20)
	pids := int64(7)
	b.spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: &pids}
	b.save()
	if r := b.do("run", b.id); r.status != 137 {
		t.Errorf("with a limit: status %d, %s", r.status, r.stderr)
	}

	b.created()
	b.must("update", "--memory", "128m", "--pids-limit", "19", b.id)
	b.must("events", "--stats", b.id)
	var e struct {
		Data struct {
			Memory struct{ Usage struct{ Limit uint64 } }
			Pids   struct{ Limit uint64 }
		}
	}
	if err := json.Unmarshal([]byte(b.must("events", "--stats", b.id)), &e); err != nil {
		t.Fatal(err)
	}
	if e.Data.Memory.Usage.Limit != 128<<20 || e.Data.Pids.Limit != 19 {
		t.Errorf("limits: %+v", e.Data)
	}
}

// TestProcess shows in /proc what the configuration says of the guest's process.
func TestProcess(t *testing.T) {
	backends(t, func(t *testing.T, target image.Target) {
		b := newBox(t, cat(t, target))
		umask := uint32(0o27)
		b.spec.Process.User = specs.User{UID: 1234, GID: 2345, AdditionalGids: []uint32{77, 88}, Umask: &umask}
		b.spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 99, Soft: 88}}
		b.spec.Hostname = "the-unikernel"
		b.save()
		b.created()
		b.must("start", b.id)
		pid := b.state().Pid
		status := string(mustRead(t, fmt.Sprintf("/proc/%d/status", pid)))
		for _, want := range []string{"Uid:\t1234\t1234\t1234\t1234\n", "Gid:\t2345\t2345\t2345\t2345\n", "Groups:\t77 88 \n", "CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n", "NoNewPrivs:\t1\n", "\t1\n"} {
			if !strings.Contains(status, want) {
				t.Errorf("no %q in %s", want, status)
			}
		}
		if !strings.Contains(status, fmt.Sprintf("NSpid:\t%d\t1\n", pid)) {
			t.Errorf("it is not the first process of its namespace: %s", status)
		}
		for _, ns := range []string{"pid", "net", "ipc", "uts", "mnt", "cgroup"} {
			ours, err1 := os.Readlink("/proc/self/ns/" + ns)
			theirs, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns))
			if err1 != nil || err2 != nil || ours == theirs {
				t.Errorf("namespace %s: %s, ours is %s", ns, theirs, ours)
			}
		}
		b.must("kill", b.id, "KILL")
		b.await("stopped")
	})
}

// TestNetwork sends packets to a guest from the other end of its veth pair, whose
// checksums the kernel leaves to hardware that there is not, and compares them with
// what the guest gets. It prints all frames, as cat does, from a device called servi.
func TestNetwork(t *testing.T) {
	backends(t, func(t *testing.T, target image.Target) {
		img := []byte(strings.ReplaceAll(string(cat(t, target)), "stdin", "servi"))
		b := newBox(t, img)
		testhost.Netns(t) // the host's end
		link, path := network(t)
		b.join(specs.NetworkNamespace, path)
		// It knows no such words.
		b.spec.Annotations = map[string]string{"gocat.ipv4": "", "gocat.ipv4-gateway": ""}
		b.save()
		// Twice: the interface has been another guest's before.
		for range 2 {
			_, stdout := b.created()
			wantError(t, b.do("create", b.id+"-2"), "another guest in the same network has it")
			b.must("start", b.id)
			awaitOutput(t, stdout, "Plugging into servi with mac "+link.HardwareAddr.String()+" mtu 1400")
			payload := "sent to the guest " + strings.Repeat("x", 700)
			sendUDP(t, payload)
			awaitOutput(t, stdout, payload)
			checkUDP(t, testhost.Contents(t, stdout), payload)
			b.must("delete", "--force", b.id)
		}
	})
}

// network makes another network namespace, connected to this one, and returns the
// other's end and path.
func network(t *testing.T) (*netlink.LinkAttrs, string) {
	t.Helper()
	threads := make(chan int)
	end := make(chan bool)
	go func() { // a thread holds the other namespace
		goruntime.LockOSThread()
		if unix.Unshare(unix.CLONE_NEWNET) != nil {
			threads <- 0
			return
		}
		threads <- unix.Gettid()
		<-end
	}()
	tid := <-threads
	t.Cleanup(func() { close(end) })
	if tid == 0 {
		testhost.Skip(t, "cannot make a network namespace")
	}
	path := fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), tid)
	return connect(t, path), path
}

// connect makes a veth pair between this network namespace and the one at path, with
// the addresses 10.77.0.1 and 10.77.0.2, and returns the other's end.
func connect(t *testing.T, path string) *netlink.LinkAttrs {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ns, err := os.Open(path)
	must(err)
	defer ns.Close()
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "host", MTU: 1400}, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns.Fd())}
	must(netlink.LinkAdd(veth))
	address := func(h *netlink.Handle, name, cidr string) netlink.Link {
		l, err := h.LinkByName(name)
		must(err)
		a, err := netlink.ParseAddr(cidr)
		must(err)
		must(h.LinkSetMTU(l, 1400))
		must(h.AddrAdd(l, a))
		must(h.LinkSetUp(l))
		l, err = h.LinkByName(name)
		must(err)
		return l
	}
	here, err := netlink.NewHandle()
	must(err)
	there, err := netlink.NewHandleAt(nsHandle(ns))
	must(err)
	host := address(here, "host", "10.77.0.1/24")
	guest := address(there, "eth0", "10.77.0.2/24")
	must(here.NeighAdd(&netlink.Neigh{LinkIndex: host.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.IPv4(10, 77, 0, 2), HardwareAddr: guest.Attrs().HardwareAddr}))
	return guest.Attrs()
}

// sendUDP sends a guest that connect has connected the payload a few times.
func sendUDP(t *testing.T, payload string) {
	t.Helper()
	c, err := net.Dial("udp", "10.77.0.2:4242")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 3 {
		if _, err := c.Write([]byte(payload)); err != nil {
			t.Fatal(err)
		}
	}
}

// checkUDP finds the frame with the payload and checks the checksums of its headers.
func checkUDP(t *testing.T, output, payload string) {
	t.Helper()
	at := strings.Index(output, payload)
	const headers = 14 + 20 + 8
	if at < headers {
		t.Fatalf("the payload is at %d", at)
	}
	frame := []byte(output[at-headers : at+len(payload)])
	ip, udp := frame[14:34], frame[34:]
	if sum(0, ip) != 0xffff {
		t.Errorf("wrong checksum of IP: % x", ip)
	}
	pseudo := sum(0, ip[12:20])
	pseudo = sum(pseudo, []byte{0, unix.IPPROTO_UDP})
	pseudo = sum(pseudo, udp[4:6])
	if binary.BigEndian.Uint16(udp[6:]) == 0 || sum(pseudo, udp) != 0xffff {
		t.Errorf("wrong checksum of UDP: % x", udp[:8])
	}
}

// sum adds big-endian words as the Internet's checksum does.
func sum(start uint32, b []byte) uint32 {
	for len(b) > 0 {
		if len(b) == 1 {
			b = append(b[:1:1], 0)
		}
		start += uint32(binary.BigEndian.Uint16(b))
		start = start&0xffff + start>>16
		b = b[2:]
	}
	return start
}
