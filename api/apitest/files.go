package apitest

import (
	"bytes"
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hishamos/hishamos/api"
	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/file"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore/memory"
)

// Shelf keeps the content of files in memory. It follows the files' own events.
type Shelf struct {
	store *memory.Store
	mu    sync.Mutex
	kept  map[domain.StreamID][]byte
	// Room is what Begin answers; nil: there is room.
	Room error
	read atomic.Int64
}

// Read is how many bytes of files were read.
func (s *Shelf) Read() int64 { return s.read.Load() }

// counted counts what is read.
type counted struct {
	io.ReadSeeker
	read *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.ReadSeeker.Read(p)
	c.read.Add(int64(n))
	return n, err
}

func newShelf(store *memory.Store) *Shelf {
	return &Shelf{store: store, kept: make(map[domain.StreamID][]byte)}
}

var (
	_ api.Files   = (*Shelf)(nil)
	_ api.Uploads = (*Shelf)(nil)
)

func (s *Shelf) fold(ctx context.Context, stream domain.StreamID) (file.State, v1.File, error) {
	records, err := s.store.ReadStream(ctx, stream, 0, 100)
	state := file.Decider.Initial()
	f := v1.File{ID: stream.Entity()}
	for _, r := range records {
		e, err := r.Decode()
		if err != nil {
			return state, f, err
		}
		if one, ok := e.Event.(events.File); ok {
			state = file.Evolve(state, one)
		}
		if r.Sequence == 1 {
			f.Created = r.Time
		}
		f.Version = v1.Ordinal(r.Sequence)
	}
	f.State, f.Name, f.MediaType, f.Size, f.Hash, f.Used = string(state.Phase), state.Name, state.MediaType, state.Size, state.Blob, state.Used
	return state, f, err
}

// File implements api.Files.
func (s *Shelf) File(ctx context.Context, t domain.Tenant, id string, _ domain.Position) (v1.File, error) {
	state, f, err := s.fold(ctx, domain.NewStreamID(t, id))
	if err == nil && state.Phase == file.New {
		err = file.ErrNotFound
	}
	return f, err
}

// Files implements api.Files.
func (s *Shelf) Files(ctx context.Context, t domain.Tenant, _ api.FileFilter, _ api.Page) ([]v1.File, string, error) {
	var out []v1.File
	s.mu.Lock()
	defer s.mu.Unlock()
	for stream := range s.kept {
		if stream.Tenant() != t {
			continue
		}
		if state, f, err := s.fold(ctx, stream); err != nil || state.Phase != file.New && state.Phase != file.Removed {
			out = append(out, f)
		}
	}
	return out, "", nil
}

// Begin implements api.Uploads.
func (s *Shelf) Begin(_ context.Context, stream domain.StreamID, _ int64) (string, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Room == nil {
		s.kept[stream] = []byte{}
	}
	return "key", time.Now().Add(time.Hour).UTC().Truncate(time.Second), s.Room
}

// GiveBack implements api.Uploads.
func (s *Shelf) GiveBack(_ context.Context, stream domain.StreamID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept, stream)
	return nil
}

// Begun is how many files room was made for.
func (s *Shelf) Begun() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.kept)
}

// State implements api.Uploads.
func (s *Shelf) State(ctx context.Context, stream domain.StreamID) (api.UploadState, error) {
	state, _, err := s.fold(ctx, stream)
	if err == nil && (state.Phase == file.New || state.Phase == file.Removed) {
		err = file.ErrNotFound
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return api.UploadState{Ready: state.Phase == file.Ready, Offset: int64(len(s.kept[stream])), Length: state.Size, Expires: state.Expires}, err
}

// Append implements api.Uploads.
func (s *Shelf) Append(ctx context.Context, stream domain.StreamID, offset int64, body io.Reader, check *domain.Checksum) (int64, error) {
	at, err := s.State(ctx, stream)
	if err != nil {
		return 0, err
	}
	if at.Offset != offset {
		return at.Offset, &domain.Error{Kind: domain.Conflict, Code: "upload.offset", Message: "is not where the upload stands"}
	}
	if check != nil {
		body = io.TeeReader(body, check.Hash)
	}
	content, broken := io.ReadAll(body)
	if check != nil && !check.Right() {
		return offset, &domain.Error{Kind: domain.Invalid, Code: "upload.checksum", Message: "is another's"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[stream] = append(s.kept[stream], content...)
	if broken != nil {
		broken = &domain.Error{Kind: domain.Invalid, Code: "upload.cut", Message: "the body did not arrive whole"}
	}
	return int64(len(s.kept[stream])), broken
}

// Finish implements api.Uploads.
func (s *Shelf) Finish(ctx context.Context, stream domain.StreamID) (commands.CompleteUpload, error) {
	at, err := s.State(ctx, stream)
	return commands.CompleteUpload{File: stream, Blob: "blob", Size: at.Length, Digest: "digest"}, err
}

// Open implements api.Uploads.
func (s *Shelf) Open(ctx context.Context, stream domain.StreamID) (*api.FileContent, error) {
	state, _, err := s.fold(ctx, stream)
	if err == nil && state.Phase != file.Ready {
		err = file.ErrNotFound
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return &api.FileContent{ReadSeeker: counted{bytes.NewReader(s.kept[stream]), &s.read}, Name: state.Name, MediaType: state.MediaType, Hash: state.Blob}, err
}

// Keys implements api.Uploads.
func (s *Shelf) Keys(ctx context.Context, stream domain.StreamID) ([]string, error) {
	state, _, err := s.fold(ctx, stream)
	if err == nil && state.Phase != file.Ready {
		err = file.ErrNotFound
	}
	return []string{"b-1.1"}, err
}
