package main

import (
	"fmt"

	"github.com/google/go-cmp/cmp"

	"github.com/hishamos/hishamos/events"
)

// What a process knows of its own events must be what everybody else reads: all
// tests of this package compare the two for each event that is decoded.
var _ = func() bool {
	events.Distrust(func(known, read events.Event) error {
		if d := cmp.Diff(known, read); d != "" {
			return fmt.Errorf("%s is known as what it does not say:\n%s", read.EventType(), d)
		}
		return nil
	})
	return true
}()
