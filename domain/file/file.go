// Package file is a file that somebody uploads, from its announcement to its end.
//
// It must not know where the bytes are, nor see any. It imports domain, events
// and commands. Start reading at Decide. The states: new → uploading → ready →
// removed, or uploading → removed. The rules:
//
//  1. A file is begun once, and never begun again.
//  2. It is complete once, when all of its size is kept.
//  3. Only a complete file can be used.
//  4. An upload ends by being terminated or by expiring; a complete file only by
//     an erasure.
//  5. What was removed stays removed.
package file

import (
	"time"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// Decider is the file as a value.
var Decider = domain.Decider[State, commands.File, events.File]{
	Kind:    "file",
	Initial: func() State { return State{} },
	Evolve:  Evolve,
	Decide:  Decide,
}

// Phase is how far a file is.
type Phase string

// The phases.
const (
	New       Phase = ""
	Uploading Phase = "uploading"
	Ready     Phase = "ready"
	Removed   Phase = "removed"
)

// State is what is kept of a file.
type State struct {
	Phase   Phase
	Size    int64
	Blob    string // address of the manifest of a complete file
	Used    bool
	Expires time.Time

	// Erasable: nothing is decided on them.
	Name, MediaType, Key string
}

// The sentinels.
var (
	ErrNotFound = &domain.Error{Kind: domain.NotFound, Code: "file.not_found", Message: "there is no such file"}

	ErrBegun = &domain.Error{
		Kind: domain.Conflict, Code: "file.already_begun",
		Message: "a file with this id was begun before", Fix: "use a fresh id",
	}

	ErrNotReady = &domain.Error{
		Kind: domain.Conflict, Code: "file.not_ready",
		Message: "the file is not complete", Fix: "upload the rest of it first",
	}

	ErrComplete = &domain.Error{
		Kind: domain.Conflict, Code: "file.complete",
		Message: "the file is complete, so its upload cannot be ended", Fix: "erase the file",
	}

	ErrSize = &domain.Error{
		Kind: domain.Conflict, Code: "file.wrong_size",
		Message: "the file is not as large as was said when it was begun", Fix: "begin another upload",
	}
)

// Decide answers a command with the events it leads to.
func Decide(s State, c commands.File, _ time.Time) ([]events.File, error) {
	switch c := c.(type) {
	case commands.BeginUpload:
		return beginUpload(s, c)
	case commands.CompleteUpload:
		return completeUpload(s, c)
	case commands.UseFile:
		return useFile(s, c)
	case commands.RemoveFile:
		return removeFile(s, c)
	}
	return nil, nil
}

func beginUpload(s State, c commands.BeginUpload) ([]events.File, error) {
	if s.Phase != New {
		return nil, ErrBegun
	}
	return []events.File{events.UploadBegun{Name: c.Name, MediaType: c.MediaType, Size: c.Size, Key: c.Key, Expires: c.Expires}}, nil
}

func completeUpload(s State, c commands.CompleteUpload) ([]events.File, error) {
	switch {
	case s.Phase == Ready && s.Blob == c.Blob:
		return nil, nil
	case s.Phase == Ready:
		return nil, ErrComplete
	case s.Phase != Uploading:
		return nil, ErrNotFound
	case s.Size != c.Size:
		return nil, ErrSize
	}
	return []events.File{events.FileUploaded{Blob: c.Blob, Size: c.Size, Digest: c.Digest}}, nil
}

func useFile(s State, c commands.UseFile) ([]events.File, error) {
	switch {
	case s.Phase == Uploading:
		return nil, ErrNotReady
	case s.Phase != Ready:
		return nil, ErrNotFound
	case s.Used:
		return nil, nil
	}
	return []events.File{events.FileUsed{By: c.By}}, nil
}

func removeFile(s State, c commands.RemoveFile) ([]events.File, error) {
	switch {
	case s.Phase == New:
		return nil, ErrNotFound
	case s.Phase == Removed:
		return nil, nil
	case s.Phase == Ready && c.Reason != commands.FileErased:
		return nil, ErrComplete
	}
	return []events.File{events.FileRemoved{Reason: c.Reason}}, nil
}

// Evolve folds one event into the state.
func Evolve(s State, e events.File) State {
	switch e := e.(type) {
	case events.UploadBegun:
		if s.Phase == New {
			s = State{Phase: Uploading, Size: e.Size, Name: e.Name, MediaType: e.MediaType, Key: e.Key, Expires: e.Expires}
		}
	case events.FileUploaded:
		if s.Phase == Uploading {
			s.Phase, s.Blob = Ready, e.Blob
		}
	case events.FileUsed:
		s.Used = s.Used || s.Phase == Ready
	case events.FileRemoved:
		if s.Phase != New {
			s.Phase = Removed
		}
	}
	return s
}
