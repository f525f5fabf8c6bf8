//go:build !failpoints

package failpoint

// Hit does nothing in this build.
func Hit(string) {}

// Err returns nil in this build.
func Err(string) error { return nil }
