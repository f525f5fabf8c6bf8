package embedded

import (
	"context"
	"errors"
)

// unpack: replaced by the real one as soon as go.mod has github.com/ulikunitz/xz.
func unpack(context.Context, string, string) error { return errors.New("xz is not in go.mod yet") }
