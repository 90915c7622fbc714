package helper

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/confine"
	"gocat/internal/testhost"
	"gocat/internal/usernet"
)

func TestMain(m *testing.M) {
	if os.Args[0] == "gocat-net" { // started by tried
		os.Exit(Main(os.Args))
	}
	os.Exit(m.Run())
}

// What takes gocat-net over can do no more than the list says.
func TestConfined(t *testing.T) {
	if confine.Possible() == confine.ErrCgo {
		testhost.Skip(t, "a test program without cgo: CGO_ENABLED=0, as make test has it")
	}
	for _, spec := range []string{"user", "user,outbound=none"} {
		config, err := usernet.Parse(spec)
		if err != nil {
			t.Fatal(err)
		}
		for name := range attacks {
			c, err := tried(name, spec)
			if err == nil {
				err = c.Err(&config)
			}
			if err != nil {
				t.Errorf("%s: %s: %v", spec, name, err)
			}
			if len(c.Layers) == 0 || !strings.HasPrefix(c.Layers[len(c.Layers)-1], "seccomp: on") {
				t.Errorf("%s: %s: confined by %q", spec, name, c.Layers)
			}
		}
	}
}

// descriptors is how many descriptors this process has open.
func descriptors(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// Messages that are none, or too long, or that carry too many descriptors are
// errors, and nothing stays open.
func TestMessages(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, err := unixConn(uintptr(pair[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := unixConn(uintptr(pair[1]))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	before := descriptors(t)
	many := make([]int, 240)
	for i := range many {
		many[i] = 2
	}
	for name, send := range map[string]func(){
		"no JSON":          func() { a.WriteMsgUnix([]byte("x"), unix.UnixRights(2, 2), nil) },
		"too long":         func() { a.WriteMsgUnix(make([]byte, maxMessage+1), unix.UnixRights(2), nil) },
		"many descriptors": func() { a.WriteMsgUnix([]byte("{}"), unix.UnixRights(many...), nil) },
		"empty":            func() { a.WriteMsgUnix(nil, nil, nil) },
	} {
		send()
		var m join
		if files, err := receive(b, &m); err == nil {
			t.Errorf("%s: taken, with %d files", name, len(files))
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors are open, %d were", after, before)
	}
	want := join{Request: usernet.Request{Guest: "web"}}
	if err := send(a, want, 2); err != nil {
		t.Fatal(err)
	}
	var got join
	files, err := receive(b, &got)
	if err != nil || got.Guest != "web" || len(files) != 1 {
		t.Errorf("%+v, %d files, %v", got, len(files), err)
	}
	closeAll(files)
}
