package device

import (
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"gocat/internal/image"
)

// FuzzMatch matches any settings, one a line as FLAG NAME=VALUE, with any
// manifest, whose devices are words: net/NAME or block/NAME. The model keeps
// settings in a map.
func FuzzMatch(f *testing.F) {
	f.Add("net/a block/b", "net a=tap0\nblock b=/x\nnet-mtu a=900\nnet-mac a=02:00:00:00:00:01\nblock-sector-size b=4096")
	f.Add("net/a net/b", "net a=tap0\nnet a=@3\nnet b=@4\nnet b=tap1")
	f.Add("net/a block/a", "net a=@0")
	f.Add("net/a", "net a=@0\nnet-mtu c=1")
	f.Add("net/a", "net-mtu a=1")
	f.Add("", "block x=y")
	f.Fuzz(func(t *testing.T, declared, settings string) {
		m := image.Manifest{{Type: image.Reserved}}
		seen := map[Declared]bool{}
		for _, word := range strings.Fields(declared) {
			typ, name, _ := strings.Cut(word, "/")
			d := Declared{name, map[string]image.DeviceType{"net": image.Net, "block": image.Block}[typ]}
			if d.Type != 0 && !seen[d] && len(m) < image.MaxEntries && checkName(name) == nil {
				m = append(m, image.Entry{Name: name, Type: d.Type})
				seen[d] = true
			}
		}
		var o Options
		wanted := map[Declared]Device{}
		for _, line := range strings.Split(settings, "\n") {
			flag, arg, _ := strings.Cut(line, " ")
			set := setters(&o)[flag]
			if set == nil || set(arg) != nil {
				continue
			}
			name, value, _ := strings.Cut(arg, "=")
			key := Declared{name, image.Net}
			if strings.HasPrefix(flag, "block") {
				key.Type = image.Block
			}
			d, ok := wanted[key]
			if !ok {
				d = Device{FD: -1, Name: name, Type: key.Type}
			}
			number, _ := strconv.Atoi(strings.TrimPrefix(value, "@"))
			switch flag {
			case "net":
				d.Path, d.FD, d.Inherited = value, -1, value[0] == '@'
				if d.Inherited {
					d.Path, d.FD = "", number
				}
			case "net-mtu":
				d.MTU = uint16(number)
			case "net-mac":
				for i := range d.MAC {
					b, err := strconv.ParseUint(value[3*i:][:2], 16, 8)
					if err != nil {
						t.Fatalf("MAC %q is accepted", value)
					}
					d.MAC[i] = byte(b)
				}
			case "block":
				d.Path = value
			case "block-sector-size":
				d.BlockSize = uint16(number)
			}
			wanted[key] = d
		}

		undeclared := false
		for key := range wanted {
			undeclared = undeclared || !seen[key]
		}
		var want []Device
		var missing []Declared
		for handle, e := range m[1:] {
			key := Declared{e.Name, e.Type}
			d := wanted[key]
			d.Handle = handle + 1
			if !d.Inherited && d.Path == "" {
				missing = append(missing, key)
			}
			want = append(want, d)
		}
		got, err := match(m, &o)
		var is *UndeclaredError
		var not *NotAttachedError
		switch {
		case err != nil:
			checkLine(t, err)
			if errors.As(err, &is) != undeclared || undeclared && seen[is.Wanted] {
				t.Errorf("%v: undeclared is %v", err, undeclared)
			}
			if !undeclared && (!errors.As(err, &not) || !reflect.DeepEqual(not.Devices, missing)) {
				t.Errorf("%v, want %v", err, missing)
			}
		case undeclared || missing != nil || len(got) != len(want):
			t.Errorf("accepted as %+v; undeclared %v, missing %v", got, undeclared, missing)
		default:
			for i := range want {
				if got[i] != want[i] {
					t.Errorf("got %+v, want %+v", got[i], want[i])
				}
			}
		}
	})
}
