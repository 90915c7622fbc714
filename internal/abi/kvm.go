package abi

// KVMGetAPIVersion is KVM_GET_API_VERSION of linux/kvm.h, and KVMVersion the only
// version there is.
const (
	KVMGetAPIVersion = 0xae00
	KVMVersion       = 12
)
