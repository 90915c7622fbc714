package device

import (
	"strings"

	"gocat/internal/image"
	"gocat/internal/raw"
)

// Declared is a device as a manifest declares it.
type Declared struct {
	Name string
	Type image.DeviceType
}

// String is the device as an option would name it: net 'stdin'.
func (d Declared) String() string {
	return typeWord(d.Type) + " " + quote(d.Name)
}

func typeWord(t image.DeviceType) string {
	switch t {
	case image.Net:
		return "net"
	case image.Block:
		return "block"
	}
	return t.String()
}

// NotAttachedError lists the declared devices that the options attach nothing
// to, in the manifest's order.
type NotAttachedError struct {
	Devices []Declared // at least one
}

// Error is one line that names the devices.
func (e *NotAttachedError) Error() string {
	var b strings.Builder
	b.WriteString("declared but not attached:")
	for i, d := range e.Devices {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte(' ')
		b.WriteString(d.String())
	}
	return b.String()
}

// UndeclaredError says that an option names a device that the manifest lacks.
type UndeclaredError struct {
	Wanted Declared
	Has    []Declared // what the manifest declares instead; may be empty
}

// Error begins as Solo5's message and goes on with the devices there are.
func (e *UndeclaredError) Error() string {
	var b strings.Builder
	b.WriteString("Resource not declared in manifest: " + quote(e.Wanted.Name))
	b.WriteString(": no such " + typeWord(e.Wanted.Type) + " device;")
	if len(e.Has) == 0 {
		b.WriteString(" it declares no devices")
		return b.String()
	}
	for i, d := range e.Has {
		if i == 0 {
			b.WriteString(" it declares ")
		} else {
			b.WriteString(", ")
		}
		b.WriteString(d.String())
	}
	return b.String()
}

// match pairs the manifest's devices with the options, opens nothing, and
// returns a Device for each in the manifest's order with FD set only when it is
// inherited.
func match(m image.Manifest, o *Options) ([]Device, error) {
	has := raw.Slice[Declared](0, len(m))
	for _, e := range m {
		if e.Type < image.Reserved {
			has = append(has, Declared{e.Name, e.Type})
		}
	}
	for _, n := range o.nets {
		if d := (Declared{n.name, image.Net}); !contains(has, d) {
			return nil, &UndeclaredError{d, has}
		}
	}
	for _, b := range o.blocks {
		if d := (Declared{b.name, image.Block}); !contains(has, d) {
			return nil, &UndeclaredError{d, has}
		}
	}

	devices := raw.Slice[Device](0, len(has))
	var missing []Declared
	for i, e := range m {
		if e.Type >= image.Reserved {
			continue
		}
		d := Device{Handle: i, Name: e.Name, Type: e.Type, FD: -1}
		if !o.fill(&d) {
			missing = append(missing, Declared{e.Name, e.Type})
			continue
		}
		devices = append(devices, d)
	}
	if missing != nil {
		return nil, &NotAttachedError{missing}
	}
	return devices, nil
}

func contains(list []Declared, d Declared) bool {
	for _, e := range list {
		if e == d {
			return true
		}
	}
	return false
}

// fill copies d's settings into it and reports whether there is anything to
// attach.
func (o *Options) fill(d *Device) bool {
	switch d.Type {
	case image.Net:
		for _, n := range o.nets {
			if n.name != d.Name {
				continue
			}
			d.Path, d.Inherited, d.MAC, d.MTU = n.iface, n.inherited, n.mac, n.mtu
			if n.user != "" {
				d.User = raw.New[UserDevice]()
				d.User.Name, d.User.Spec, d.User.Program = d.Name, n.user, o.UserProgram
			}
			if n.inherited {
				d.FD = n.fd
			}
			return n.inherited || n.iface != "" || n.user != ""
		}
	case image.Block:
		for _, b := range o.blocks {
			if b.name != d.Name {
				continue
			}
			d.Path, d.BlockSize, d.Inherited = b.path, b.sector, b.inherited
			if b.inherited {
				d.FD = b.fd
			}
			return b.inherited || b.path != ""
		}
	}
	return false
}
