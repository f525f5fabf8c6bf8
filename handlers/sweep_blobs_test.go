package handlers_test

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/handlers"
	"github.com/hishamos/hishamos/internal/reaction"
)

func TestBlobsGoWithWhatTheyAreOf(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var did []string
	note := func(what string) func(context.Context, domain.StreamID) error {
		return func(_ context.Context, s domain.StreamID) error { did = append(did, what+" "+string(s)); return nil }
	}
	w.ports.SettleUpload, w.ports.RemoveFile = note("settle"), note("remove")
	w.ports.RemoveErased = func(_ context.Context, t domain.Tenant, subject, id string) error {
		did = append(did, "erased "+string(t)+" "+subject+" "+id)
		return nil
	}
	all := handlers.All(w.ports)
	r := all[slices.IndexFunc(all, func(r reaction.Reaction) bool { return r.Name == "sweep_blobs" })]
	file := domain.StreamID("default/file_1")
	for _, e := range []events.Recorded[events.Event]{
		{Envelope: events.Envelope{Stream: file, Sequence: 2}, Event: events.FileUploaded{}},
		{Envelope: events.Envelope{Stream: file, Sequence: 3}, Event: events.FileRemoved{}},
		{Envelope: events.Envelope{Stream: order, Sequence: 1}, Event: events.ErasureOrdered{Subject: "run", ID: "run_1"}},
		{Envelope: events.Envelope{Stream: order, Sequence: 1}, Event: events.ErasureOrdered{Subject: "file", ID: "file_1"}},
	} {
		for range 2 { // every event may come twice
			if err := r.Handle(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := []string{"settle default/file_1", "remove default/file_1", "erased default run run_1"}
	if diff := cmp.Diff(slices.Compact(did), want); diff != "" {
		t.Error(diff)
	}
	if len(w.commands) != 1 || w.commands[0].Command != commands.Command(commands.RemoveFile{File: file, Reason: commands.FileErased}) {
		t.Errorf("commands %v", w.commands)
	}
}
