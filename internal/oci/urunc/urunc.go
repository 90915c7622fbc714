// Package urunc reads what container images made for urunc, another runtime for
// unikernels, say of themselves, so that they run unchanged. They say it in
// annotations, com.urunc.unikernel.*, or in a file urunc.json in their rootfs,
// since some engines drop annotations.
//
// All of it is hostile. A path never leaves the rootfs, whatever its links say
// (Open). A value is one of a few words, the name of a device, such a path, or
// an argument of the guest's: none can be an option of a tender's, or a file of
// the host's.
package urunc

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"gocat/internal/image"
)

// Config is what an image says of its unikernel.
type Config struct {
	// Target is the tender that the image is for, hvt or spt. The binary's own
	// note decides; whoever has read it must compare.
	Target image.Target
	// Binary is the unikernel's path in the rootfs, to be opened with Open. It is
	// absolute and clean.
	Binary string
	// Args are the guest's arguments: those of the container's process, or
	// without any those that the image has (cmdline). The words of Solo5 are not
	// quoted: a tender joins them by spaces, as urunc does.
	Args []string
	// Block is the path of a block device's file in the rootfs, or "". BlockDevice is the guest's name for it.
	Block, BlockDevice string
	// NetDevice is the guest's name for the container's first interface, or "":
	// then it is the guest's first one, whose keys have no prefix.
	NetDevice string
}

// The keys, of annotations as of urunc.json.
const (
	prefix = "com.urunc."
	unik   = prefix + "unikernel."

	keyType        = unik + "unikernelType"
	keyVersion     = unik + "unikernelVersion"
	keyHypervisor  = unik + "hypervisor"
	keyBinary      = unik + "binary"
	keyCmdline     = unik + "cmdline"
	keyInitrd      = unik + "initrd"
	keyBlock       = unik + "block"
	keyMountPoint  = unik + "blkMntPoint"
	keyMountRootfs = unik + "mountRootfs"
	keyUseDMBlock  = unik + "useDMBlock"
	keyNet         = unik + "solo5NetDev"
	keyBlockDevice = unik + "solo5BlkDev"
)

var keys = []string{keyType, keyVersion, keyHypervisor, keyBinary, keyCmdline, keyInitrd, keyBlock,
	keyMountPoint, keyMountRootfs, keyUseDMBlock, keyNet, keyBlockDevice}

// types are urunc's unikernel types. Of these, MirageOS's are Solo5 guests whose
// arguments are words.
var types = []string{"mirage", "rumprun", "unikraft", "mewz", "linux", "hermit", "includeos", "osv", "freebsd"}

// defaultBlock is urunc's name for a MirageOS guest's block device.
const defaultBlock = "storage"

// Read returns what an image says with the annotations of its container and the
// file urunc.json of its rootfs, a directory; nil if it has neither. args are
// the arguments of the container's process. Errors are one line.
func Read(annotations map[string]string, root *os.File, args []string) (*Config, error) {
	said, err := decode(ours(annotations), "annotation")
	if err != nil {
		return nil, err
	}
	file, err := readFile(root)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", fileName, err)
	}
	filed, err := decode(file, fileName)
	if err != nil {
		return nil, err
	}
	for _, key := range keys { // in order: the error is always the same
		a, b := said[key], filed[key]
		if a != "" && b != "" && a != b {
			return nil, fmt.Errorf("%s is %s as an annotation, but %s in %s: they must agree", key, quote(a), quote(b), fileName)
		}
		if a == "" && b != "" {
			said[key] = b
		}
	}
	if len(said) == 0 {
		return nil, nil
	}
	return configOf(said, args)
}

// ours returns the annotations that are urunc's.
func ours(annotations map[string]string) map[string]string {
	m := make(map[string]string)
	for key, value := range annotations {
		if strings.HasPrefix(key, prefix) {
			m[key] = value
		}
	}
	return m
}

func configOf(said map[string]string, args []string) (*Config, error) {
	for _, key := range []string{keyType, keyHypervisor, keyBinary} {
		if said[key] == "" {
			return nil, fmt.Errorf("%s is missing: an image for urunc has it", key)
		}
	}
	if said[keyType] != "mirage" {
		return nil, refused(said, keyType, "want mirage: others are not Solo5 unikernels, or take other arguments")
	}
	c := &Config{NetDevice: said[keyNet]}
	switch said[keyHypervisor] {
	case "hvt":
		c.Target = image.HVT
	case "spt":
		c.Target = image.SPT
	default:
		return nil, refused(said, keyHypervisor, "want hvt or spt")
	}
	for _, key := range []string{keyInitrd, keyUseDMBlock, keyMountRootfs} {
		switch said[key] {
		case "", "false", "0":
		default:
			return nil, refused(said, key, "a Solo5 unikernel has no file system of its tender's")
		}
	}
	for _, key := range []string{keyNet, keyBlockDevice} {
		if said[key] != "" && !image.ValidName(said[key]) {
			return nil, refused(said, key, fmt.Sprintf("want a device's name: up to %d letters and digits", image.MaxName))
		}
	}
	var err error
	if c.Binary, err = inside(said, keyBinary); err != nil {
		return nil, err
	}
	if said[keyBlock] != "" {
		if c.Block, err = inside(said, keyBlock); err != nil {
			return nil, err
		}
		if c.BlockDevice = said[keyBlockDevice]; c.BlockDevice == "" {
			c.BlockDevice = defaultBlock
		}
	} else if said[keyBlockDevice] != "" {
		return nil, refused(said, keyBlockDevice, "it names the device of "+keyBlock+", which is missing")
	}
	c.Args = strings.Fields(said[keyCmdline])
	if len(args) > 0 && clean(args[0]) == c.Binary { // the image's entry point
		args = args[1:]
	}
	if len(args) > 0 {
		c.Args = slices.Clone(args)
	}
	return c, nil
}

// inside returns the path of a file in the rootfs.
func inside(said map[string]string, key string) (string, error) {
	p := clean(said[key])
	if p == "/" {
		return "", refused(said, key, "want the path of a file in the image")
	}
	return p, nil
}

// clean makes a path absolute, without "..", "." and doubled slashes. Open
// resolves what is left, so a link before ".." is none.
func clean(p string) string { return path.Clean("/" + p) }

func refused(said map[string]string, key, why string) error {
	return fmt.Errorf("%s is %s: %s", key, quote(said[key]), why)
}
