package projections

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/projection"
)

// The states of a file.
const (
	FileUploading = "uploading"
	FileReady     = "ready"
	FileRemoved   = "removed"
)

// File is a file that somebody uploads, as it stands.
type File struct {
	Tenant    domain.Tenant   `db:"tenant,key"`
	File      string          `db:"file,key"` // file_<uuid>
	State     string          `db:"state"`
	Name      string          `db:"name"`       // sealed
	MediaType string          `db:"media_type"` // sealed
	Digest    string          `db:"digest"`     // sealed
	Size      int64           `db:"size"`
	Blob      string          `db:"blob"` // address of the manifest
	Used      bool            `db:"used"`
	Reason    string          `db:"reason"` // why it was removed
	Created   time.Time       `db:"created"`
	CreatedBy string          `db:"created_by"`
	Expires   time.Time       `db:"expires"` // of the upload
	Uploaded  *time.Time      `db:"uploaded"`
	Updated   time.Time       `db:"updated"`
	Version   domain.Sequence `db:"version"`
	Position  domain.Position `db:"position"`
}

// Stream is the stream of the file.
func (f File) Stream() domain.StreamID { return domain.NewStreamID(f.Tenant, f.File) }

var files = projection.NewHistoryTable[File]("files")

// FilesDefinition fills files.
func FilesDefinition() *projection.Definition {
	return &projection.Definition{
		Name: "files", Version: 1,
		Tables:   []*projection.Schema{files.Schema},
		Handlers: []projection.Handler{projection.On(uploadBegun), projection.On(fileUploaded), projection.On(fileUsed), projection.On(fileRemoved)},
	}
}

func uploadBegun(w *projection.Rows, r events.Recorded[events.UploadBegun]) {
	e := r.Event
	files.Insert(w, File{
		Tenant: r.Stream.Tenant(), File: r.Stream.Entity(), State: FileUploading, Name: e.Name, MediaType: e.MediaType, Size: e.Size,
		Created: r.Time, CreatedBy: actorID(r.Actor), Expires: e.Expires, Updated: r.Time, Version: r.Sequence, Position: r.Position,
	})
}

// errNoFile parks a stream whose beginning is missing.
var errNoFile = errors.New("the file has no row: its first event was not applied")

func changeFile(w *projection.Rows, e events.Envelope, change func(*File)) {
	f, ok := files.Get(w, File{Tenant: e.Stream.Tenant(), File: e.Stream.Entity()})
	if !ok {
		w.Fail(errNoFile)
		return
	}
	change(&f)
	f.Updated, f.Version, f.Position = e.Time, e.Sequence, e.Position
	files.Put(w, f)
}

func fileUploaded(w *projection.Rows, r events.Recorded[events.FileUploaded]) {
	changeFile(w, r.Envelope, func(f *File) {
		at := r.Time
		f.State, f.Blob, f.Digest, f.Uploaded = FileReady, r.Event.Blob, r.Event.Digest, &at
	})
}

func fileUsed(w *projection.Rows, r events.Recorded[events.FileUsed]) {
	changeFile(w, r.Envelope, func(f *File) { f.Used = true })
}

func fileRemoved(w *projection.Rows, r events.Recorded[events.FileRemoved]) {
	changeFile(w, r.Envelope, func(f *File) { f.State, f.Reason = FileRemoved, r.Event.Reason })
}

// Files are the queries over files.
type Files struct{ DB DB }

// FileFilter narrows a list of files.
type FileFilter struct {
	State       string // empty: those that were not removed
	OldestFirst bool
	At          domain.Position // as of a position; 0: now
}

const (
	fileColumns = `tenant, file, state, name, media_type, digest, size, blob, used, reason, created, created_by,
    expires, uploaded, updated, version, position`

	// L is the live row, f the version that is asked for. The id is that of both: by
	// the live row it is found, and ordered.
	filesNow = `
select f.*
from files l cross join lateral (select ` + fileColumns + ` from (select l.*) n) f
where l.build = live_build('files', 1) and l.tenant = $1`

	// $2 is the position.
	filesAsOf = `
select f.*
from files l cross join lateral (
    select ` + fileColumns + ` from (select l.*) n where n.valid_from <= $2
    union all
    select ` + fileColumns + ` from files_history h
    where l.valid_from > $2 and h.build = l.build and h.tenant = l.tenant and h.file = l.file and h.valid_from <= $2 and h.valid_to > $2
) f
where l.build = live_build('files', 1) and l.tenant = $1`

	filesUnusedSQL = `
select ` + fileColumns + ` from files
where build = live_build('files', 1) and state = 'ready' and not used and uploaded < $1 order by uploaded limit 500`
)

// ErrFileNotFound is also the answer for another tenant's file.
var ErrFileNotFound = &domain.Error{Kind: domain.NotFound, Code: "file.not_found", Message: "there is no such file"}

// Get returns a file as of a position; 0: now.
func (q Files) Get(ctx context.Context, tenant domain.Tenant, id string, at domain.Position) (File, error) {
	p := source(tenant, at, filesNow, filesAsOf)
	p.where("l.file = %s", id)
	found, err := collect[File](ctx, q.DB, p.sql, p.args)
	if err != nil {
		return File{}, fmt.Errorf("get file %s: %w", id, err)
	}
	if len(found) == 0 {
		return File{}, ErrFileNotFound
	}
	return found[0], nil
}

// List returns a page of files, by when they were begun: ids are in the order of
// time.
func (q Files) List(ctx context.Context, tenant domain.Tenant, f FileFilter, after string, limit int) (Page[File], error) {
	p := source(tenant, f.At, filesNow, filesAsOf)
	if f.State != "" {
		p.where("f.state = %s", f.State)
	} else {
		p.where("f.state <> %s", FileRemoved)
	}
	begun := order[File]{"files", !f.OldestFirst, []string{"l.file"}, func(f *File) []any { return []any{&f.File} }}
	return page(ctx, q.DB, p, begun, after, limit)
}

// Unused returns files of all tenants that were complete before an instant and
// that nothing refers to, up to 500. It is for the program itself: no tenant is
// asked for.
func (q Files) Unused(ctx context.Context, before time.Time) ([]File, error) {
	found, err := collect[File](ctx, q.DB, filesUnusedSQL, []any{before})
	if err != nil {
		return nil, fmt.Errorf("list unused files: %w", err)
	}
	return found, nil
}
