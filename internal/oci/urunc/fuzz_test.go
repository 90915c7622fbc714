package urunc

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gocat/internal/image"
)

// FuzzRead reads what an image may say, both ways. What is taken is a path in
// the rootfs, words, and names of devices; what Go's own reader of JSON does not
// take, or takes as something else, is refused.
func FuzzRead(f *testing.F) {
	full := said(keyHypervisor, "hvt", keyCmdline, "-l x", keyBlock, "/d", keyNet, "service", keyBlockDevice, "data")
	f.Add(asJSON(f, full), asJSON(f, encoded(full, 1)), "/.boot/kernel\nx")
	f.Add("{}", asJSON(f, encoded(full, 2)), "")
	f.Add(asJSON(f, encoded(said(), 1)), "", "--mem=1")
	f.Add(asJSON(f, said(keyBinary, "../../etc/shadow", keyCmdline, "a\x00")), `{"com.urunc.unikernel.binary":"a","com.urunc.unikernel.binary":"b"}`, "a b")
	dir := f.TempDir()
	root, err := os.Open(dir)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, annotations, file, words string) {
		var m map[string]string
		if json.Unmarshal([]byte(annotations), &m) != nil {
			return
		}
		path := filepath.Join(dir, fileName)
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(path)
		var args []string
		if words != "" {
			args = strings.Split(words, "\n")
		}
		c, err := Read(m, root, args)
		if err != nil {
			if text := err.Error(); strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) || len(text) > 600 {
				t.Fatalf("error is not one short line: %q", text)
			}
			return
		}
		var any map[string]any
		if d := json.NewDecoder(bytes.NewReader([]byte(file))); d.Decode(&any) != nil {
			t.Fatalf("%q was taken, and is no JSON object", file)
		}
		if c == nil {
			return
		}
		for _, p := range []string{c.Binary, c.Block} {
			if p != "" && (p != filepath.Clean(p) || p[0] != '/' || p == "/" || strings.Contains("/"+p+"/", "/../") || strings.ContainsRune(p, 0)) {
				t.Fatalf("path %q", p)
			}
		}
		for _, name := range []string{c.NetDevice, c.BlockDevice} {
			if name != "" && !image.ValidName(name) {
				t.Fatalf("device %q", name)
			}
		}
		if c.Target != image.HVT && c.Target != image.SPT || c.Binary == "" || (c.Block == "") != (c.BlockDevice == "") {
			t.Fatalf("%+v", c)
		}
	})
}
