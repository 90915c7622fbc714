package ps

import (
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

// proc makes a directory that looks like /proc.
func proc(t *testing.T, processes map[string]map[string]string) string {
	t.Helper()
	root := t.TempDir()
	write := func(path, content string) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(root+"/stat", "cpu 1 2 3\nbtime 1000000\nprocesses 5\n")
	for pid, files := range processes {
		for name, content := range files {
			path := filepath.Join(root, pid, name)
			if link, ok := strings.CutPrefix(content, "-> "); ok {
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(link, path); err != nil {
					t.Fatal(err)
				}
				continue
			}
			write(path, content)
		}
	}
	return root
}

const confined = "Name:\tx\nUid:\t1000\t0\t0\t0\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"

// stat is /proc/PID/stat of a process called name, started so many seconds after
// the host.
func stat(name string, seconds int) string {
	return "7 (" + name + ") S " + strings.Repeat("0 ", 18) + strconv.Itoa(seconds*ticks) + " 1 2 3\n"
}

func TestList(t *testing.T) {
	root := proc(t, map[string]map[string]string{
		"20": {"cmdline": "gocat\x00run\x00--backend=spt\x00--mem=64\x00--name=web\x00a b.spt\x00", "status": confined, "stat": stat("web) R (", 60),
			"fd/0": "-> /dev/null", "fd/1": "-> /dev/pts/1", "fd/2": "-> /dev/pts/1", "fd/3": "-> anon_inode:[eventpoll]", "fd/4": "-> anon_inode:[timerfd]",
			"fd/5": "-> /dev/net/tun", "fdinfo/5": "pos:\t0\niff:\ttap100\n", "fd/6": "-> /srv/disk.img", "fd/7": "-> socket:[5]", "fd/8": "-> socket:[5]"},
		"3": {"cmdline": "gocat\x00sealed\x00--backend=spt\x00--mem=512\x00", "status": confined, "stat": stat("cat", 1)},
		"4": {"cmdline": "/usr/bin/solo5-hvt\x00--mem=8\x00--net:service=tap0\x00--\x00/srv/x.hvt\x00--mem=9\x00", "status": confined, "stat": stat("x", 2)},
		"5": {"cmdline": "./gocat\x00run\x00--mem\x002G\x00/srv/y.hvt\x00", "status": "Seccomp:\t0\n", "stat": stat("gocat", 2), "fd/9": "-> anon_inode:kvm-vm",
			"fd/0": "-> pipe:[7]", "fdinfo/0": "flags:\t0100000\n", "fd/10": "-> pipe:[8]", "fdinfo/10": "flags:\t02000000\n", "fd/11": "-> pipe:[8]", "fdinfo/11": "flags:\t02000001\n"},
		"6":  {"cmdline": "gocat\x00run\x00", "status": "NoNewPrivs:\t0\nSeccomp:\t0\n", "stat": stat("gocat", 2)},
		"7":  {"cmdline": "gocat\x00bench\x00", "status": confined, "stat": stat("gocat", 2)},
		"8":  {"cmdline": "vim\x00gocat\x00run\x00", "status": confined, "stat": stat("vim", 2)},
		"9":  {"cmdline": "gocat\x00run\x00--mem=x\x00", "status": confined, "stat": stat("gocat", 2)},
		"10": {"cmdline": "gocat\x00run\x00--backend=spt\x00", "status": confined, "stat": "7 (gocat"},
		"11": {"cmdline": "", "status": confined, "stat": stat("kthread", 2)},
		"12": {"cmdline": "solo5-spt\x00--mem=x\x00k\x00", "status": confined, "stat": stat("k", 2)},
		"13": {"cmdline": "solo5-spt\x00", "status": confined, "stat": stat("k", 2)},
		"15": {"cmdline": "gocat\x00warm\x00--backend=spt\x00--mem=64\x00web.spt\x00", "status": confined, "stat": stat("web", 2)},
		"14": {}, "self": {"cmdline": "gocat\x00run\x00"},
	})
	got, err := List(root)
	if err != nil {
		t.Fatal(err)
	}
	at := func(seconds int) time.Time { return time.Unix(1000000+int64(seconds), 0) }
	want := []Guest{
		{PID: 3, Backend: "spt", Name: "cat", Sealed: true, Memory: 512 << 20, UID: 1000, Since: at(1)},
		{PID: 4, Backend: "hvt", Name: "x", Image: "x.hvt", Memory: 8 << 20, UID: 1000, Since: at(2)},
		{PID: 5, Backend: "hvt", Name: "gocat", Image: "y.hvt", Memory: 2 << 30, Since: at(2), Devices: []string{"pipe"}},
		{PID: 15, Backend: "spt", Name: "web", Image: "web.spt", Sealed: true, Warm: true, Memory: 64 << 20, UID: 1000, Since: at(2)},
		{PID: 20, Backend: "spt", Name: "web", Image: "a b.spt", Memory: 64 << 20, UID: 1000, Since: at(60), Devices: []string{"tap:tap100", "/srv/disk.img", "socket"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

func TestListWithoutProc(t *testing.T) {
	if _, err := List(t.TempDir() + "/absent"); err == nil {
		t.Error("no error without /proc")
	}
	if _, err := List(t.TempDir()); err == nil {
		t.Error("no error without /proc/stat")
	}
}
