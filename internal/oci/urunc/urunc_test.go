package urunc

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
)

// rootfs makes a directory with files, by name their contents.
func rootfs(t testing.TB, files map[string]string) *os.File {
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// said is what an image of MirageOS's says, changed by pairs of key and value.
func said(pairs ...string) map[string]string {
	m := map[string]string{keyType: "mirage", keyHypervisor: "spt", keyBinary: "/.boot/kernel"}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

// encoded encodes every value times.
func encoded(m map[string]string, times int) map[string]string {
	e := make(map[string]string)
	for key, value := range m {
		for range times {
			value = base64.StdEncoding.EncodeToString([]byte(value))
		}
		e[key] = value
	}
	return e
}

func asJSON(t testing.TB, m map[string]string) string {
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRead(t *testing.T) {
	full := said(keyHypervisor, "hvt", keyVersion, "4.5", keyCmdline, "-l  *:debug --name=x", keyBlock, "../disk.img",
		keyMountPoint, "/", keyNet, "management", keyBlockDevice, "data", keyMountRootfs, "false", keyInitrd, "")
	wantFull := &Config{Target: image.HVT, Binary: "/.boot/kernel", Args: []string{"-l", "*:debug", "--name=x"},
		Block: "/disk.img", BlockDevice: "data", NetDevice: "management"}
	plain := &Config{Target: image.SPT, Binary: "/.boot/kernel"}
	for _, c := range []struct {
		name        string
		annotations map[string]string
		file        string // urunc.json, unless empty
		args        []string
		want        *Config
	}{
		{"nothing", map[string]string{"org.opencontainers.image.title": "x"}, "", []string{"/web.spt"}, nil},
		{"a file without urunc's keys", nil, `{"bunny.urunit":"false"}`, nil, nil},
		{"annotations", full, "", nil, wantFull},
		{"encoded annotations", encoded(full, 1), "", nil, wantFull},
		{"file", nil, asJSON(t, encoded(full, 1)), nil, wantFull},
		{"file encoded twice", nil, asJSON(t, encoded(full, 2)), nil, wantFull},
		{"both, and they agree", full, asJSON(t, encoded(full, 1)), nil, wantFull},
		{"one adds to the other", said(), asJSON(t, encoded(said(keyCmdline, "a b"), 1)), nil,
			&Config{Target: image.SPT, Binary: "/.boot/kernel", Args: []string{"a", "b"}}},
		{"the process's arguments come first", said(keyCmdline, "a b"), "", []string{"--x", "y z"},
			&Config{Target: image.SPT, Binary: "/.boot/kernel", Args: []string{"--x", "y z"}}},
		{"the binary is the entry point", said(keyCmdline, "a"), "", []string{"/.boot/kernel"},
			&Config{Target: image.SPT, Binary: "/.boot/kernel", Args: []string{"a"}}},
		{"tender's options are the guest's", said(keyCmdline, "--mem=1 --net:service=@0"), "", nil,
			&Config{Target: image.SPT, Binary: "/.boot/kernel", Args: []string{"--mem=1", "--net:service=@0"}}},
		{"above the root", said(keyBinary, "../../../.boot/kernel"), "", nil, plain},
		{"relative", said(keyBinary, ".boot//./kernel"), "", nil, plain},
		{"an option is a name", said(keyBinary, "--mem=1"), "", nil, &Config{Target: image.SPT, Binary: "/--mem=1"}},
		{"default block device", said(keyBlock, "d"), "", nil,
			&Config{Target: image.SPT, Binary: "/.boot/kernel", Block: "/d", BlockDevice: "storage"}},
	} {
		files := map[string]string{}
		if c.file != "" {
			files[fileName] = c.file
		}
		got, err := Read(c.annotations, rootfs(t, files), c.args)
		if err != nil || !reflect.DeepEqual(normal(got), normal(c.want)) {
			t.Errorf("%s: %+v, %v, expected %+v", c.name, got, err, c.want)
		}
	}
}

// normal makes no arguments one thing.
func normal(c *Config) *Config {
	if c != nil && len(c.Args) == 0 {
		c.Args = nil
	}
	return c
}

func TestRefused(t *testing.T) {
	once := func(pairs ...string) string { return asJSON(t, encoded(said(pairs...), 1)) }
	for _, c := range []struct {
		name        string
		annotations map[string]string
		file        string
		want        string // the error has it
	}{
		{"no binary", map[string]string{keyType: "mirage", keyHypervisor: "spt"}, "", keyBinary + " is missing"},
		{"no type", map[string]string{keyHypervisor: "spt"}, "", keyType + " is missing"},
		{"another type", said(keyType, "unikraft"), "", keyType + ` is "unikraft": want mirage`},
		{"no type at all", said(keyType, "; rm"), "", `annotation ` + keyType + ` is "; rm"`},
		{"type encoded three times", encoded(said(), 3), "", keyType},
		{"another monitor", said(keyHypervisor, "qemu"), "", keyHypervisor + ` is "qemu": want hvt or spt`},
		{"a path of a monitor", said(keyHypervisor, "/bin/sh"), "", keyHypervisor},
		{"initrd", said(keyInitrd, "/initrd"), "", keyInitrd},
		{"rootfs", said(keyMountRootfs, "true"), "", keyMountRootfs},
		{"device mapper", said(keyUseDMBlock, "true"), "", keyUseDMBlock},
		{"a device's name with an option", said(keyNet, "service=@3"), "", keyNet},
		{"a long device's name", said(keyBlock, "x", keyBlockDevice, strings.Repeat("a", image.MaxName+1)), "", keyBlockDevice},
		{"a device's name without a block", said(keyBlockDevice, "data"), "", keyBlockDevice},
		{"the rootfs as binary", said(keyBinary, "/x/.."), "", keyBinary},
		{"the rootfs as block", said(keyBlock, ".."), "", keyBlock},
		{"an unknown key", said(unik+"monitorPath", "/bin/sh"), "", `"com.urunc.unikernel.monitorPath" is not known`},
		{"an unknown group", said("com.urunc.monitors.hvt.path", "/bin/sh"), "", `"com.urunc.monitors.hvt.path" is not known`},
		{"a zero byte", said(keyCmdline, "a\x00b"), "", keyCmdline + " has a zero byte"},
		{"a long value", said(keyCmdline, strings.Repeat("a", maxValue+1)), "", keyCmdline + " has 8193 bytes"},
		{"mixed encodings", said(keyType, base64.StdEncoding.EncodeToString([]byte("mirage"))), "", "want base64"},
		{"they differ", said(), once(keyBinary, "/other"), keyBinary + ` is "/.boot/kernel" as an annotation, but "/other" in urunc.json`},
		{"an array", nil, `["com.urunc"]`, "urunc.json: want a JSON object"},
		{"a number", nil, `{"com.urunc.unikernel.binary": 7}`, "want a string"},
		{"null", nil, `{"com.urunc.unikernel.binary": null}`, "want a string"},
		{"twice", nil, `{"com.urunc.unikernel.binary":"YQ==","com.urunc.unikernel.binary":"Yg=="}`, "comes twice"},
		{"more than an object", nil, once() + "{}", "something follows"},
		{"cut", nil, `{"com.urunc.unikernel.binary":"YQ=="`, "ends too early"},
		{"not JSON", nil, "{\"a\":\x1b\n}", "not JSON"},
		{"too long", nil, `{"a":"` + strings.Repeat("a", maxFile) + `"}`, "more than 65536 bytes"},
		{"deep", nil, `{"com.urunc.x":` + strings.Repeat("[", 30000) + `}`, "not JSON"},
	} {
		files := map[string]string{}
		if c.file != "" {
			files[fileName] = c.file
		}
		got, err := Read(c.annotations, rootfs(t, files), nil)
		if err == nil {
			t.Errorf("%s: %+v, expected an error with %q", c.name, got, c.want)
		} else if text := err.Error(); !strings.Contains(text, c.want) || strings.ContainsAny(text, "\n\x1b") {
			t.Errorf("%s: %q, expected %q", c.name, text, c.want)
		}
	}
}

// Links out of the rootfs lead into it, and what is no file is not opened.
func TestOpen(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	root := rootfs(t, map[string]string{"kernel": "kernel", "sub/file": "file"})
	for name, to := range map[string]string{"out": outside, "up": "../../../../../../../.." + outside, "in": "/kernel",
		"sub/in": "/sub/../kernel", "loop": "loop", "magic": "/proc/self/fd/0", "dir": "/../sub"} {
		if err := os.Symlink(to, filepath.Join(root.Name(), name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(root.Name(), "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, want string
		err        string
	}{
		{"kernel", "kernel", ""},
		{"/kernel", "kernel", ""},
		{"../../kernel", "kernel", ""},
		{"in", "kernel", ""},
		{"sub/in", "kernel", ""},
		{"dir/file", "file", ""},
		{"out", "", "no such file"},
		{"up", "", "no such file"},
		{"magic", "", "no such file"},
		{"loop", "", "too many levels"},
		{"fifo", "", "not a regular file"},
		{"sub", "", "not a regular file"},
		{"missing", "", "no such file or directory"},
		{"kernel/x", "", "not a directory"},
		{outside, "", "no such file"},
	} {
		f, err := Open(root, c.path)
		if err != nil {
			if c.err == "" || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, expected %q %q", c.path, err, c.want, c.err)
			}
			continue
		}
		b := make([]byte, 100)
		n, _ := f.Read(b)
		f.Close()
		if c.err != "" || string(b[:n]) != c.want {
			t.Errorf("%s: %q, expected %q %q", c.path, b[:n], c.want, c.err)
		}
	}
}

// A link named urunc.json does not read the host's file, nor does a FIFO hang.
func TestFileOutside(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "x.json")
	if err := os.WriteFile(outside, []byte(asJSON(t, encoded(said(), 1))), 0o644); err != nil {
		t.Fatal(err)
	}
	root := rootfs(t, nil)
	path := filepath.Join(root.Name(), fileName)
	if err := os.Symlink(outside, path); err != nil {
		t.Fatal(err)
	}
	if c, err := Read(nil, root, nil); c != nil || err != nil {
		t.Errorf("a link out of the rootfs: %+v, %v", c, err)
	}
	os.Remove(path)
	if err := unix.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if c, err := Read(nil, root, nil); err == nil {
		t.Errorf("a FIFO: %+v", c)
	}
}
