package serve

import (
	"testing"

	"gocat/internal/tender"
)

// FuzzOf has a description that anybody may have written: what is taken of it is a user
// network of one device.
func FuzzOf(f *testing.F) {
	for _, s := range [][3]string{
		{"net", "service=user,idle=30s, mac 02:00:00:00:00:01, mtu 65520", "8080:80"},
		{"net", "service=tap0, mac 02:00:00:00:00:01, mtu 0", ""},
		{"net", "service=@3, mac 02:00:00:00:00:01, mtu 0", "1:1"},
		{"net", "service=@", ""}, {"net", "=user, mac 1, mtu 1", ""}, {"block", "disk=@4, 1 bytes", ""}, {"process", "web", "x"},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, name, value, publish string) {
		g, err := Of([]tender.Fact{{Name: "process", Value: "web"}, {Name: name, Value: value}, {Name: "publish", Value: publish}})
		if err == nil && (g.User.Spec == "" || g.User.MAC == [6]byte{} && g.MTU == 0 && g.User.Name == "") {
			t.Errorf("%+v", g)
		}
	})
}
