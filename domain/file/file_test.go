package file_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/domaintest"
	"github.com/hishamos/hishamos/domain/file"
	"github.com/hishamos/hishamos/events"
)

const stream domain.StreamID = "default/file_0190f4d2-0000-7000-8000-000000000001"

var (
	until    = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	begin    = commands.BeginUpload{File: stream, Name: "a.txt", MediaType: "text/plain", Size: 3, Key: "k", Expires: until}
	begun    = events.UploadBegun{Name: "a.txt", MediaType: "text/plain", Size: 3, Key: "k", Expires: until}
	complete = commands.CompleteUpload{File: stream, Blob: "m", Size: 3, Digest: "d"}
	uploaded = events.FileUploaded{Blob: "m", Size: 3, Digest: "d"}
	use      = commands.UseFile{File: stream, By: "run_1"}
)

func remove(reason string) commands.RemoveFile {
	return commands.RemoveFile{File: stream, Reason: reason}
}

func TestAFileIsBegunOnce(t *testing.T) {
	t.Parallel()
	d := domaintest.For(t, file.Decider)
	d.Given().When(begin).Then(begun)
	d.Given(begun).When(begin).ThenError(file.ErrBegun)
	d.Given(begun, events.FileRemoved{Reason: "expired"}).When(begin).ThenError(file.ErrBegun)
}

func TestAFileIsCompleteOnceWhenAllOfItIsKept(t *testing.T) {
	t.Parallel()
	d := domaintest.For(t, file.Decider)
	d.Given().When(complete).ThenError(file.ErrNotFound)
	d.Given(begun).When(complete).Then(uploaded)
	d.Given(begun, uploaded).When(complete).ThenNothing()
	other := complete
	other.Blob = "n"
	d.Given(begun, uploaded).When(other).ThenError(file.ErrComplete)
	other.Size = 4
	d.Given(begun).When(other).ThenError(file.ErrSize)
	d.Given(begun, events.FileRemoved{Reason: "expired"}).When(complete).ThenError(file.ErrNotFound)
}

func TestOnlyACompleteFileCanBeUsed(t *testing.T) {
	t.Parallel()
	d := domaintest.For(t, file.Decider)
	d.Given().When(use).ThenError(file.ErrNotFound)
	d.Given(begun).When(use).ThenError(file.ErrNotReady)
	d.Given(begun, uploaded).When(use).Then(events.FileUsed{By: "run_1"})
	d.Given(begun, uploaded, events.FileUsed{By: "run_0"}).When(use).ThenNothing()
	d.Given(begun, uploaded, events.FileRemoved{Reason: "erased"}).When(use).ThenError(file.ErrNotFound)
}

func TestACompleteFileEndsOnlyByAnErasure(t *testing.T) {
	t.Parallel()
	d := domaintest.For(t, file.Decider)
	d.Given().When(remove(commands.UploadTerminated)).ThenError(file.ErrNotFound)
	for _, reason := range []string{commands.UploadTerminated, commands.UploadExpired} {
		d.Given(begun).When(remove(reason)).Then(events.FileRemoved{Reason: reason})
		d.Given(begun, uploaded).When(remove(reason)).ThenError(file.ErrComplete)
	}
	d.Given(begun, uploaded).When(remove(commands.FileErased)).Then(events.FileRemoved{Reason: "erased"})
	d.Given(begun, uploaded, events.FileRemoved{Reason: "erased"}).When(remove(commands.FileErased)).ThenNothing()
}

func TestLaws(t *testing.T) {
	t.Parallel()
	domaintest.Laws(t, domaintest.Model[file.State, commands.File, events.File]{
		Decider: file.Decider,
		Next: func(t *rapid.T, _ file.State) commands.File {
			return rapid.SampledFrom([]commands.File{begin, complete, use, remove(commands.UploadTerminated), remove(commands.UploadExpired), remove(commands.FileErased)}).Draw(t, "command")
		},
		Control: func(s file.State) any { return []any{s.Phase, s.Size, s.Blob, s.Used, s.Expires} },
		Ended:   func(s file.State) bool { return s.Phase == file.Removed },
	})
}
