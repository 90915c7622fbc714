package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/testhost"
)

// activated starts a program as a service manager does that passes files from
// descriptor 3 on; the settings come after those of LISTEN_PID and LISTEN_FDS.
func activated(t testing.TB, files []*os.File, settings string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	script := fmt.Sprintf(`export LISTEN_PID=$$ LISTEN_FDS=%d LISTEN_FDNAMES=x %s; exec "$0" "$@"`, len(files), settings)
	cmd := exec.Command("/bin/sh", append([]string{"-c", script}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr, cmd.ExtraFiles = &stderr, files
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd, &stderr
}

// listener is a listening socket of the test's, and its file.
func listener(t testing.TB, network string) (port int, f *os.File) {
	t.Helper()
	l, err := net.Listen(network, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err = l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	t.Cleanup(func() { f.Close() })
	return l.Addr().(*net.TCPAddr).Port, f
}

// networkGuest builds the guest that answers lines, for a backend.
func networkGuest(t testing.TB, backend string) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "network."+backend)
	gocat(t, "build", "--target="+backend, "-o", image, "../../internal/goguests/network").wantSuccess(t)
	return image
}

// dialled is a connection to a port.
func dialled(t testing.TB, port int) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

// asked connects to a port, asks, and returns what is wrong with the answer.
func asked(port int) error {
	c, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		return err
	}
	c.SetDeadline(time.Now().Add(time.Minute))
	return answer(c)
}

// Sockets that are passed are the published ports; the connection that came before the
// guest waits for it. The guest itself has none of them.
func TestPassedSockets(t *testing.T) {
	for _, backend := range []string{"spt", "hvt"} {
		if backend == "hvt" {
			needKVM(t)
		}
		image := networkGuest(t, backend)
		port, f := listener(t, "tcp")
		datagrams, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		udp, err := datagrams.(*net.UDPConn).File()
		if err != nil {
			t.Fatal(err)
		}
		defer udp.Close()
		udpPort := datagrams.LocalAddr().(*net.UDPAddr).Port
		datagrams.Close()
		for name, publish := range map[string]int{"same number": port, "by order": freePort(t)} {
			options := []string{"--mem=64", "--net=service=user", fmt.Sprintf("--publish=%d:80", publish), fmt.Sprintf("--publish=%d:7/udp", udpPort), image}
			sealed, warm := filepath.Join(t.TempDir(), "sealed"), filepath.Join(t.TempDir(), "warm")
			gocat(t, append([]string{"seal", "-o", sealed}, options...)...).wantSuccess(t)
			args := map[string][]string{
				"run":    append([]string{program, "run"}, options...),
				"sealed": {sealed},
			}
			if publish != port { // while it boots, it binds the port itself
				udp := fmt.Sprintf("--publish=%d:7/udp", freePort(t))
				r := gocat(t, append([]string{"seal", "--warm-at=ready", "-o", warm, options[0], options[1], options[2], udp}, image)...)
				if r.status != 0 {
					t.Fatalf("%+v", r)
				}
				args["warm"] = []string{warm}
			}
			for how, args := range args {
				t.Run(fmt.Sprint(backend, " ", name, " ", how), func(t *testing.T) {
					early := dialled(t, port) // waits in the backlog
					// The datagram socket first: order among the others is what counts.
					guest, stderr := activated(t, []*os.File{udp, f}, "", args...)
					for _, err := range []error{answer(early), asked(port), echoed(udpPort)} {
						if err != nil {
							t.Fatal(err, " ", stderr)
						}
					}
					without(t, guest.Process.Pid, f, udp)
					guest.Process.Kill()
					guest.Wait()
				})
			}
		}
	}
}

// echoed sends a datagram to a port until it comes back.
func echoed(port int) error {
	c, err := net.Dial("udp", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		return err
	}
	defer c.Close()
	b := make([]byte, 100)
	for range 50 {
		io.WriteString(c, question)
		c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if n, err := c.Read(b); err == nil && string(b[:n]) == question {
			return nil
		}
	}
	return fmt.Errorf("no datagram came back from port %d", port)
}

// without fails t if a process has one of the files open.
func without(t testing.TB, pid int, files ...*os.File) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	open, err := os.ReadDir(dir)
	if err != nil {
		testhost.NeedRoot(t, "to see the descriptors of a guest")
		t.Fatal(err)
	}
	for _, f := range files {
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		for _, o := range open {
			if to, _ := os.Readlink(filepath.Join(dir, o.Name())); to == fmt.Sprintf("socket:[%d]", st.Ino) {
				t.Errorf("the guest has %s as descriptor %s", f.Name(), o.Name())
			}
		}
	}
}

// A passed socket that a guest reads itself is a device as any descriptor is.
func TestPassedDevice(t *testing.T) {
	for _, backend := range []string{"spt", "hvt"} {
		if backend == "hvt" {
			needKVM(t)
		}
		sealed := filepath.Join(t.TempDir(), "sealed")
		gocat(t, "seal", "--backend="+backend, "--mem=2", "--net=stdin=@3", "-o", sealed).wantSuccess(t)
		for _, args := range [][]string{{sealed}, {program, "run", "--backend=" + backend, "--mem=2", "--net=stdin=@3"}} {
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
			var out bytes.Buffer
			cmd := exec.Command("/bin/sh", append([]string{"-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"`}, args...)...)
			cmd.Stdout, cmd.ExtraFiles = &out, []*os.File{theirs}
			io.WriteString(ours, question)
			ours.Close()
			if err := cmd.Run(); err != nil || out.String() != question {
				t.Errorf("%q: %v, %q", args, err, &out)
			}
			theirs.Close()
		}
	}
}

// What is passed and does not fit is refused in one line.
func TestPassedWrong(t *testing.T) {
	port, f := listener(t, "tcp")
	_, other := listener(t, "tcp")
	file, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	connected, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	pair := os.NewFile(uintptr(connected[0]), "pair")
	defer pair.Close()
	defer unix.Close(connected[1])
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	deaf := os.NewFile(uintptr(fd), "deaf")
	defer deaf.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	datagrams, err := udp.(*net.UDPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	sealed, sealedHVT := filepath.Join(t.TempDir(), "sealed"), filepath.Join(t.TempDir(), "sealed-hvt")
	options := []string{"--mem=2", "--net=stdin=user", fmt.Sprintf("--publish=%d:80", port)}
	gocat(t, append([]string{"seal", "-o", sealed}, options...)...).wantSuccess(t)
	gocat(t, append([]string{"seal", "--backend=hvt", "-o", sealedHVT}, options...)...).wantSuccess(t)
	programs := [][]string{append([]string{program, "run"}, options...), {sealed}, {sealedHVT}}
	const bound = "address already in use" // what is not for this process is not looked at
	for _, test := range []struct {
		files    []*os.File
		settings string
		want     string
	}{
		{[]*os.File{file}, "", "descriptor 3, which LISTEN_FDS passes, is not a socket"},
		{[]*os.File{pair}, "", "descriptor 3, which LISTEN_FDS passes, is a socket of neither TCP nor UDP"},
		{[]*os.File{deaf}, "", "does not listen"},
		{[]*os.File{datagrams}, "", "(udp), and no port of the guest is left for it"},
		{[]*os.File{f, other}, "", "LISTEN_FDS=2: the guest takes 1"},
		{[]*os.File{f}, "LISTEN_FDS=10000", "LISTEN_FDS=10000: the guest takes 1"},
		{nil, "LISTEN_FDS=1", "descriptor 3, which LISTEN_FDS passes, is not open"},
		{[]*os.File{f}, "LISTEN_FDS=-1", `LISTEN_FDS="-1": want a number of sockets`},
		{[]*os.File{f}, "LISTEN_FDS=1x", `LISTEN_FDS="1x": want a number of sockets`},
		{[]*os.File{f}, "LISTEN_FDS=99999999999999999999999", "want a number of sockets"},
		{[]*os.File{f}, "LISTEN_PID=self", `LISTEN_PID="self": want the number of a process`},
		{[]*os.File{f}, "LISTEN_PID=1", bound},
		{[]*os.File{f}, "LISTEN_FDS=0", bound},
		{[]*os.File{f}, "LISTEN_FDS=", bound},
	} {
		for _, args := range programs {
			cmd, stderr := activated(t, test.files, test.settings, args...)
			if cmd.Wait(); cmd.ProcessState.ExitCode() != 125 || strings.Count(stderr.String(), "\n") != 1 ||
				!strings.HasPrefix(stderr.String(), "gocat: ") || !strings.Contains(stderr.String(), test.want) {
				t.Errorf("%q, %d files, %s: %v, %q, want %q", args, len(test.files), test.settings, cmd.ProcessState, stderr, test.want)
			}
		}
	}
}

// systemd's own tool passes sockets so that guests take them, and gocat serve does.
func TestSocketActivate(t *testing.T) {
	const activate = "systemd-socket-activate"
	if _, err := exec.LookPath(activate); err != nil {
		testhost.Skip(t, "no "+activate+": install systemd")
	}
	backends(t, func(t *testing.T, backend string) {
		port := freePort(t)
		sealed := sealedNetwork(t, backend, port)
		for name, args := range map[string][]string{"sealed": {sealed}, "serve": {program, "serve", "--idle=50ms", sealed}} {
			address := fmt.Sprint("127.0.0.1:", port)
			manager := append([]string{activate, "-l", address, "--fdname=web"}, args...)
			cmd, stderr := userGuest(t, manager...)
			until(t, name+": the port is open", func() bool { return strings.Contains(stderr.String(), "Listening on") })
			for range 3 {
				if err := asked(port); err != nil {
					t.Error(name, err, stderr)
				}
				time.Sleep(100 * time.Millisecond) // serve may end its guest
			}
			cmd.Process.Signal(unix.SIGTERM)
			cmd.Wait()
			until(t, name+": the port is free", func() bool {
				l, err := net.Listen("tcp", address)
				if err == nil {
					l.Close()
				}
				return err == nil
			})
		}
	})
}

// A descriptor that is a device is no port, wherever it is among those that are passed.
func TestPassedBoth(t *testing.T) {
	device := func(name string) image.Entry { return image.Entry{Name: name, Type: image.Net} }
	guest := kernel(t, exiting(5, device("a"), device("b")))
	port, f := listener(t, "tcp")
	for at, files := range map[int]func(device *os.File) []*os.File{
		3: func(d *os.File) []*os.File { return []*os.File{d, f} },
		4: func(d *os.File) []*os.File { return []*os.File{f, d} },
	} {
		options := []string{fmt.Sprintf("--net=a=@%d", at), "--net=b=user", fmt.Sprintf("--publish=%d:80", port), guest}
		sealed := filepath.Join(t.TempDir(), "sealed")
		gocat(t, append([]string{"seal", "-o", sealed}, options...)...).wantSuccess(t)
		for _, args := range [][]string{{sealed}, append([]string{program, "run"}, options...)} {
			in, _ := testhost.Pipe(t)
			cmd, stderr := activated(t, files(in), "", args...)
			if cmd.Wait(); cmd.ProcessState.ExitCode() != 5 || stderr.Len() > 0 {
				t.Errorf("%q: %v, %s", args, cmd.ProcessState, stderr)
			}
		}
	}
}
