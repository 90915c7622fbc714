package device

import (
	"strings"
	"testing"
	"unicode"

	"gocat/internal/image"
)

// setters are the option parsers by the flag that calls them.
func setters(o *Options) map[string]func(string) error {
	return map[string]func(string) error{
		"net":               o.SetNet,
		"net-mac":           o.SetNetMAC,
		"net-mtu":           o.SetNetMTU,
		"block":             o.SetBlock,
		"block-sector-size": o.SetBlockSectorSize,
	}
}

func TestOptionsRefuse(t *testing.T) {
	long := strings.Repeat("n", image.MaxName+1)
	for _, test := range []struct{ flag, arg, want string }{
		{"net", "", "want NAME=IFACE or NAME=@FD"},
		{"net", "a", "want NAME=IFACE or NAME=@FD"},
		{"net", "=tap0", "1 to 67 letters and digits"},
		{"net", long + "=tap0", "1 to 67 letters and digits"},
		{"net", "a-b=tap0", "letters and digits only"},
		{"net", "ä=tap0", "letters and digits only"},
		{"net", "a\nb=tap0", "letters and digits only"},
		{"net", "a=", "want the name of a tap"},
		{"net", "a=..", "want the name of a tap"},
		{"net", "a=sixteen-letters0", "has at most 15"},
		{"net", "a=tap%d", "pattern"},
		{"net", "a=tap/0", "no byte 0x2f"},
		{"net", "a=tap:0", "no byte 0x3a"},
		{"net", "a=tap 0", "no byte 0x20"},
		{"net", "a=tap\x000", "no byte 0x00"},
		{"net", "a=@", "decimal number"},
		{"net", "a=@-1", "decimal number"},
		{"net", "a=@+1", "decimal number"},
		{"net", "a=@0x1", "decimal number"},
		{"net", "a=@1 ", "decimal number"},
		{"net", "a=@2147483648", "0 to 2147483647"},
		{"net", "a=@99999999999999999999", "0 to 2147483647"},
		{"net-mac", "a", "want NAME=MAC"},
		{"net-mac", "a=02:00:00:00:00", "six pairs"},
		{"net-mac", "a=02:00:00:00:00:01:", "six pairs"},
		{"net-mac", "a=02:00:00:00:00:0", "six pairs"},
		{"net-mac", "a=02-00-00-00-00-01", "six pairs"},
		{"net-mac", "a=02:00:00:00:00:0g", "six pairs"},
		{"net-mac", "a=0:00:00:00:00:001", "six pairs"},
		{"net-mac", "a=00:00:00:00:00:00", "all zero"},
		{"net-mac", "a=01:00:00:00:00:01", "multicast"},
		{"net-mtu", "a=0", "1 to 65535"},
		{"net-mtu", "a=65536", "1 to 65535"},
		{"net-mtu", "a=-1", "1 to 65535"},
		{"net-mtu", "a=1e3", "1 to 65535"},
		{"net-mtu", "a=", "1 to 65535"},
		{"block", "a=", "want the path"},
		{"block", "a=b\x00c", "want the path"},
		{"block", "a", "want NAME=PATH"},
		{"block-sector-size", "a=256", "Block size must be a multiple of 2 greater than or equal 512"},
		{"block-sector-size", "a=521", "Block size must be a multiple of 2 greater than or equal 512"},
		{"block-sector-size", "a=65536", "at most 32768"},
		{"block-sector-size", "a=66048", "at most 32768"}, // 512 in 16 bits
		{"block-sector-size", "a=0", "Block size must be a multiple of 2 greater than or equal 512"},
		{"block-sector-size", "a=x", "Block size must be a multiple of 2 greater than or equal 512"},
	} {
		var o Options
		err := setters(&o)[test.flag](test.arg)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %q: error %v, want one with %q", test.flag, test.arg, err, test.want)
			continue
		}
		checkLine(t, err)
		if len(o.nets) != 0 || len(o.blocks) != 0 {
			t.Errorf("%s %q: left %+v behind", test.flag, test.arg, o)
		}
	}
}

// checkLine fails unless the error is one printable line.
func checkLine(t *testing.T, err error) {
	t.Helper()
	for _, r := range err.Error() {
		if !unicode.IsPrint(r) {
			t.Errorf("error %q has the unprintable %q", err, r)
		}
	}
}

// The last setting of a name wins, whatever was set before.
func TestOptionsLastWins(t *testing.T) {
	name := strings.Repeat("N9", 33) + "n"
	var o Options
	for _, set := range []struct{ flag, arg string }{
		{"net-mac", name + "=02:00:00:00:00:01"},
		{"net", name + "=@2147483647"},
		{"net", name + "=fifteenletters0"},
		{"net-mtu", name + "=65535"},
		{"net-mtu", name + "=1"},
		{"net-mac", name + "=FE:dc:BA:98:76:54"},
		{"net", "other=tap0"},
		{"net", "other=@7"},
		{"block", name + "=a=b"},
		{"block-sector-size", name + "=32768"},
		{"block-sector-size", name + "=512"},
	} {
		if err := setters(&o)[set.flag](set.arg); err != nil {
			t.Fatalf("%s %q: %v", set.flag, set.arg, err)
		}
	}
	m := manifest(Declared{name, image.Net}, Declared{"other", image.Net}, Declared{name, image.Block})
	got, err := match(m, &o)
	if err != nil {
		t.Fatal(err)
	}
	want := []Device{
		{Handle: 1, Name: name, Type: image.Net, FD: -1, Path: "fifteenletters0", MTU: 1, MAC: [6]byte{0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54}},
		{Handle: 2, Name: "other", Type: image.Net, FD: 7, Inherited: true},
		{Handle: 3, Name: name, Type: image.Block, FD: -1, Path: "a=b", BlockSize: 512},
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("device %d:\n got %+v\nwant %+v", i, got[i], want[i])
		}
	}
}

// Whatever an option parser accepts is in range, and what it refuses leaves
// nothing behind and makes one printable line.
func FuzzOptions(f *testing.F) {
	for _, s := range []string{"a=tap0", "a=@0", "a=@2147483648", "a=02:00:00:00:00:01", "a=1500", "a=512", "a=4096", "a=/dev/sda", "=", "a=%d", "\xff=\n", "0=@\x11"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for flag := range setters(&Options{}) {
			var o Options
			err := setters(&o)[flag](s)
			if err != nil {
				checkLine(t, err)
				if len(o.nets)+len(o.blocks) != 0 {
					t.Errorf("%s %q: refused, and left %+v", flag, s, o)
				}
				continue
			}
			if len(o.nets)+len(o.blocks) != 1 {
				t.Fatalf("%s %q: accepted, and left %+v", flag, s, o)
			}
			name, value, _ := strings.Cut(s, "=")
			if len(o.nets) == 1 {
				n := o.nets[0]
				ok := n.name == name && n.fd >= 0 && n.fd <= 1<<31-1 && n.mac[0]&1 == 0 &&
					len(n.iface) < 16 && (n.iface == "" || n.iface == value)
				if !ok || checkName(n.name) != nil {
					t.Errorf("%s %q: accepted as %+v", flag, s, n)
				}
				continue
			}
			b := o.blocks[0]
			if b.name != name || checkName(b.name) != nil || b.sector&(b.sector-1) != 0 ||
				b.sector != 0 && b.sector < 512 || b.path != "" && b.path != value {
				t.Errorf("%s %q: accepted as %+v", flag, s, b)
			}
		}
	})
}
