package main

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
	"gocat/internal/usernet"
)

// serving lists the processes that serve user networks for guests of this test.
func serving(t testing.TB) map[int]bool { return helpers(t, "serve") }

// helpers lists the processes gocat-net COMMAND of this test's program.
func helpers(t testing.TB, command string) map[int]bool {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]bool{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		args, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if string(args) == "gocat-net\x00"+command+"\x00" {
			// Of this test's program only.
			if exe, err := os.Readlink(filepath.Join("/proc", e.Name(), "exe")); err == nil && filepath.Dir(exe) == filepath.Dir(program) {
				found[pid] = true
			}
		}
	}
	return found
}

// freePort is a port of the loopback address that nobody has now.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// userGuest starts the bundled cat on a user network; it waits for packets.
func userGuest(t testing.TB, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, &stderr
}

func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not in time: ", what)
		}
	}
}

// The network is there before the guest, lives as long as the guest, and not
// longer, however either ends.
func TestUserNetworkLives(t *testing.T) {
	sealed := filepath.Join(t.TempDir(), "sealed")
	port := freePort(t)
	publish := fmt.Sprintf("--publish=%d:80", port)
	gocat(t, "seal", "-o", sealed, "--net=stdin=user", publish).wantSuccess(t)
	sealedHVT := filepath.Join(t.TempDir(), "sealed-hvt")
	gocat(t, "seal", "-o", sealedHVT, "--backend=hvt", "--mem=2", "--net=stdin=user", publish).wantSuccess(t)
	for name, args := range map[string][]string{
		"spt":    {program, "run", "--mem=2", "--net=stdin=user", publish},
		"hvt":    {program, "run", "--mem=2", "--backend=hvt", "--net=stdin=user", publish},
		"sealed": {sealed},
		// Not beside gocat-net.
		"sealed hvt": {sealedHVT},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(name, "hvt") {
				needKVM(t)
			}
			for _, kill := range []string{"guest", "network"} {
				before := serving(t)
				guest, _ := userGuest(t, args...)
				var network int
				until(t, name+": a network", func() bool {
					for pid := range serving(t) {
						if !before[pid] {
							network = pid
						}
					}
					return network != 0
				})
				until(t, name+": the published port is open", func() bool {
					c, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", port))
					if err == nil {
						c.Close()
					}
					return err == nil
				})
				if err := testhost.Idle(guest.Process.Pid); err != nil { // the port is open before the guest runs
					t.Fatal(err)
				}
				// Nobody waits for the guest's children, so it has none.
				until(t, name+": the guest has no child", func() bool {
					children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", guest.Process.Pid, guest.Process.Pid))
					return err != nil || len(children) == 0
				})
				if kill == "guest" {
					guest.Process.Kill()
					guest.Wait()
				} else {
					unix.Kill(network, unix.SIGKILL)
					// The cat sees the end of its input.
					if err := guest.Wait(); err != nil {
						t.Errorf("%s: the cat ends with %v", name, err)
					}
				}
				until(t, name+": the network has ended with the "+kill, func() bool { return !serving(t)[network] })
				until(t, name+": the port is free", func() bool {
					l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
					if err == nil {
						l.Close()
					}
					return err == nil
				})
			}
		})
	}
}

// What is said when something is wrong is one line, and no process is left.
func TestUserNetworkErrors(t *testing.T) {
	before := serving(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	none := kernel(t, exiting(0))
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--net=stdin=user", "--publish=" + taken + ":80"}, "address already in use"},
		{[]string{"--net=stdin=user", "--publish=192.0.2.1:8080:80"}, "the host does not have this address"},
		{[]string{"--net=stdin=user", "--publish=8080"}, "want [IP:]HOST:GUEST[/udp]"},
		{[]string{"--net=stdin=user", "--publish=8080:80/sctp"}, "neither tcp nor udp"},
		{[]string{"--net=stdin=user", "--publish=0:80"}, "want a number from 1 to 65535"},
		{[]string{"--net=stdin=user", "--publish=localhost:1:80"}, "is no address"},
		{[]string{"--net=stdin=user", "--publish=8080:80", "--publish=8080:81"}, "published twice"},
		{[]string{"--publish=8080:80"}, "no network device has a user network: give one with --net NAME=user"},
		{[]string{"--net=eth0=user", none}, "it declares no devices"},
		{[]string{"--net=stdin=user,mtu=9"}, "want a number of bytes from 576 to 65520"},
		{[]string{"--net=stdin=user,net=127.0.0.0/8"}, "these are not addresses for guests"},
		{[]string{"--net=stdin=user,net=10.0.0.0/31"}, "want a length from 8 to 29"},
		{[]string{"--net=stdin=user,outbound=some"}, "want all, none, or addresses"},
		{[]string{"--net=stdin=user,outbound=none,outbound=all"}, "excludes the others"},
		{[]string{"--net=stdin=user,network=a/b"}, "a network's name has"},
		{[]string{"--net=stdin=user,nonsense=1"}, `no option "nonsense"`},
	} {
		for _, backend := range []string{"spt", "hvt"} {
			args := test.args
			if args[len(args)-1] != none {
				args = append([]string{"--backend=" + backend}, args...)
			}
			gocat(t, append([]string{"run", "--mem=2"}, args...)...).wantError(t, "gocat", test.want)
		}
	}
	lonely := filepath.Join(t.TempDir(), "gocat")
	b, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(lonely, b, 0o755); err != nil {
		t.Fatal(err)
	}
	r := call{program: lonely, args: []string{"run", "--net=stdin=user"}}.run(t)
	if !strings.Contains(r.stderr, "a user network takes the program gocat-net") || strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("without gocat-net: %+v", r)
	}
	until(t, "no network is left", func() bool { return len(serving(t)) == len(before) })
}

// A network with a name is one for all guests in it, and ends with the last.
func TestSharedUserNetwork(t *testing.T) {
	before := serving(t)
	id := fmt.Sprint("test-", os.Getpid())
	var guests []*exec.Cmd
	for i := range 4 {
		guest, stderr := userGuest(t, program, "run", "-v", "--mem=2", "--isolate=none", "--net=stdin=user,network="+id)
		guests = append(guests, guest)
		until(t, "the guest has begun", func() bool {
			return len(serving(t)) > len(before) && strings.Contains(stderr.String(), "no_new_privs")
		})
		if want := fmt.Sprintf("address 10.0.2.%d/24", 100+i); !strings.Contains(stderr.String(), want) {
			t.Errorf("guest %d: %s, want %s", i, stderr, want)
		}
	}
	if now := serving(t); len(now) != len(before)+1 {
		t.Errorf("%d processes serve one network", len(now)-len(before))
	}
	r := gocat(t, "run", "--mem=2", "--net=stdin=user,mtu=1500,network="+id)
	r.wantError(t, "gocat", "has mtu=65520 there")
	for _, g := range guests {
		g.Process.Kill()
		g.Wait()
	}
	until(t, "the network has ended", func() bool { return len(serving(t)) == len(before) })
}

// -v has what holds the network's process, and it is so.
func TestUserNetworkConfined(t *testing.T) {
	before := serving(t)
	userGuest(t, program, "run", "--mem=2", "--net=stdin=user")
	var network int
	until(t, "a network", func() bool {
		for pid := range serving(t) {
			if !before[pid] {
				network = pid
			}
		}
		return network != 0
	})
	status := func() string {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", network))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	until(t, "a filter", func() bool { return strings.Contains(status(), "\nSeccomp:\t2\n") })
	for _, line := range []string{"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1"} {
		if !strings.Contains(status(), "\n"+line+"\n") {
			t.Errorf("no %s in\n%s", line, status())
		}
	}
	// Every thread, not only the first.
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", network))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/status", network, task.Name()))
		if err == nil && (!strings.Contains(string(b), "\nSeccomp:\t2\n") || !strings.Contains(string(b), "\nCapPrm:\t0000000000000000\n")) {
			t.Errorf("thread %s:\n%s", task.Name(), b)
		}
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", network))
	if err != nil {
		testhost.NeedRoot(t, "to see the descriptors of an isolated process")
		t.Fatal(err)
	}
	for _, f := range files {
		to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", network, f.Name()))
		if to != "/dev/null" && !strings.HasPrefix(to, "socket:") && !strings.HasPrefix(to, "anon_inode:[event") && !strings.HasPrefix(to, "anon_inode:[pidfd") {
			t.Errorf("descriptor %s is %s", f.Name(), to)
		}
	}
}

// A filter around gocat, as a service manager or a container has, may refuse what
// confines gocat-net, or kill for it: what can be left out is, and said to be.
func TestUserNetworkFiltered(t *testing.T) {
	kills := "the seccomp filter that gocat inherited kills for it"
	for _, test := range []struct {
		nr     uint32
		action uint32
		want   string // what is said; a network if it has ": off: "
	}{
		{unix.SYS_CHROOT, unix.SECCOMP_RET_KILL_PROCESS, "gocat-net: root: off: " + kills},
		{unix.SYS_LANDLOCK_CREATE_RULESET, unix.SECCOMP_RET_KILL_PROCESS, "gocat-net: landlock: off: " + kills},
		{unix.SYS_CHROOT, unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM), "gocat-net: root: off: it takes CAP_SYS_CHROOT"},
		{unix.SYS_LANDLOCK_CREATE_RULESET, unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS), "gocat-net: landlock: off: the seccomp filter"},
		{unix.SYS_CAPSET, unix.SECCOMP_RET_KILL_PROCESS, "gocat: the user network's process ends before it begins: a seccomp filter around gocat may kill it"},
		{unix.SYS_SECCOMP, unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM), "gocat: gocat-net: seccomp: "},
	} {
		g, r := tryUserNetwork(t, 1, func(c call, t testing.TB) result { return c.filtered(t, test.nr, test.action) },
			usernet.Request{Spec: "user", Verbose: true})
		if !strings.Contains(r.stderr, test.want) {
			t.Errorf("call %d, %#x: %+v", test.nr, test.action, r)
		}
		if off := strings.Contains(test.want, ": off: "); off != (g != nil) || off && !g.answers() || !off && (r.status != 1 || strings.Count(r.stderr, "\n") != 1) {
			t.Errorf("call %d, %#x: network: %v, %+v", test.nr, test.action, g != nil, r)
		}
	}
}

// Starts and ends at random moments leave nothing behind. GOCAT_SOAK says how
// many there are.
func TestUserNetworkSoak(t *testing.T) {
	count := testhost.Count(t, "GOCAT_SOAK", 20)
	before := serving(t)
	port := freePort(t)
	for i := range count {
		args := []string{program, "run", "--mem=2", "--net=stdin=user"}
		switch i % 4 {
		case 1:
			args = append(args, "--backend=hvt", fmt.Sprintf("--publish=%d:80", port))
		case 2:
			args[3] += ",network=soak" + strconv.Itoa(os.Getpid())
		case 3:
			args = append(args, fmt.Sprintf("--publish=%d:80/udp", port))
		}
		cmd := exec.Command(args[0], args[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL, Setpgid: i%2 == 0}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(40)) * time.Millisecond)
		switch rand.IntN(3) {
		case 0:
			cmd.Process.Kill()
		case 1:
			cmd.Process.Signal(unix.SIGTERM)
		default:
			if cmd.SysProcAttr.Setpgid {
				unix.Kill(-cmd.Process.Pid, unix.SIGINT)
			} else {
				cmd.Process.Signal(unix.SIGINT)
			}
		}
		cmd.Wait()
		if i%50 == 49 || i == count-1 {
			until(t, "all networks have ended", func() bool {
				left := serving(t)
				maps.DeleteFunc(left, func(pid int, _ bool) bool { return before[pid] })
				return len(left) == 0
			})
		}
	}
	until(t, "the port is free", func() bool {
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err == nil {
			l.Close()
		}
		return err == nil
	})
}
