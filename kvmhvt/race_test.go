//go:build race

package kvmhvt

const confine = false
