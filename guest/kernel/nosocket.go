//go:build gocat_image && !gocat_net

package kernel

const (
	withSockets = false
	maxFiles    = 128
)

func socketCall(*thread) int64 { return errNOSYS }
func forNet(uintptr) bool      { return false }
func keepNetWord(uintptr)      {}
func forgetNetWords()          {}
func sendQueued(bool)          {}
func served()                  {}
