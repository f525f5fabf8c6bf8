package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/file"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/auth"
	"github.com/hishamos/hishamos/internal/blob"
	hishamos "github.com/hishamos/hishamos/sdk/go"
)

// fileKit is a process that takes files, and a client of it.
type fileKit struct {
	*canaryProcess
	client *hishamos.Client
}

// newFileKit starts one. People may do everything.
func newFileKit(t *testing.T, d *drill) *fileKit {
	t.Helper()
	c := openCanary(t, d)
	c.run((*node).runRelay, (*node).runProjections, (*node).runReactions)
	c.secret = auth.NewSecret()
	c.do(commands.IssueToken{
		Token: domain.NamedStreamID(domain.DefaultTenant, "token", "jo"), Tenant: domain.DefaultTenant, Actor: domain.Actor{ID: "u_1", Kind: domain.Human},
		Permissions: []domain.Permission{domain.AllPermissions}, SecretHash: auth.Hash(c.secret),
	})
	c.quiesce()
	client, err := hishamos.New(c.server, c.secret, hishamos.Options{})
	c.must(err)
	return &fileKit{c, client}
}

// upload sends a content and returns the file.
func (k *fileKit) upload(name string, content []byte) v1.File {
	k.t.Helper()
	r, err := k.client.BeginUpload(k.t.Context(), hishamos.NewUpload{Name: name, MediaType: "text/plain", Size: int64(len(content))}, hishamos.Command{})
	k.must(err)
	f, err := k.client.SendUpload(k.t.Context(), r.ID, bytes.NewReader(content), nil)
	k.must(err)
	return f
}

// read returns the content of a file, or why not.
func (k *fileKit) read(id string, offset int64) ([]byte, error) {
	r, err := k.client.FileContent(k.t.Context(), id, offset)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(r)
	return content, errors.Join(err, r.Close())
}

// inBlobs counts the blobs of tenants, none of which may hold a canary.
func (c *canaryProcess) inBlobs() (n int) {
	c.t.Helper()
	c.must(filepath.WalkDir(c.blobFolder(), func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Name() == "_marks" {
			return fs.SkipDir
		}
		if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if bytes.Contains(b, []byte(songbird)) {
			c.t.Errorf("blob %s holds plain text", e.Name())
		}
		n++
		return err
	}))
	return n
}

func songs(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%s %d\n", songbird, i)
	}
	return b.Bytes()[:n]
}

// TestAFileIsNowhereInPlainTextAndGoneOnceErased follows a file and large inputs
// through every place where they could be left behind.
func TestAFileIsNowhereInPlainTextAndGoneOnceErased(t *testing.T) {
	t.Parallel()
	k := newFileKit(t, newDrill(t))
	content := songs(blob.PartSize + 100_000)
	f := k.upload(songbird+".txt", content)
	if f.State != v1.FileReady || f.Name != songbird+".txt" || f.Size != int64(len(content)) || f.CreatedBy != "u_1" || len(f.Hash) != 64 || len(f.Digest) != 64 {
		t.Errorf("the file: %+v", f)
	}
	kept := k.upload("kept.txt", songs(1000))
	if got, err := k.read(f.ID, 0); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if got, err := k.read(f.ID, blob.PartSize-10); err != nil || !bytes.Equal(got, content[blob.PartSize-10:]) {
		t.Errorf("a part: %d bytes, %v", len(got), err)
	}
	first, err := k.store.ReadStream(t.Context(), domain.NewStreamID(domain.DefaultTenant, f.ID), 0, 10)
	k.must(err)
	if len(first) != 2 || !strings.Contains(first[0].Actor, "u_1") || !strings.Contains(string(first[1].Data), f.Hash) {
		t.Errorf("the log tells of the file: %d events, %s", len(first), first[0].Actor)
	}

	// Inputs that no event has room for are blobs of the run.
	large := strings.TrimSpace(string(songs(99_000)))
	status, body := k.post("/api/v1/workflows/two-step/runs", "large", v1.StartRun{Inputs: map[string]json.RawMessage{"notes": text(large)}})
	var run v1.Receipt
	if k.must(json.Unmarshal([]byte(body), &run)); status != http.StatusCreated {
		t.Fatalf("a large input answers %d: %s", status, body)
	}
	k.quiesce()
	if body := k.body("/api/v1/runs/" + run.ID); !strings.Contains(body, songbird+" 6000") {
		t.Errorf("the large input is not shown: %.300s", body)
	}
	if n := k.inBlobs(); n != 3+2+1 {
		t.Errorf("%d blobs are kept", n)
	}
	k.sweep()
	k.verifyAll()

	stream := domain.RunID(run.ID).Stream(domain.DefaultTenant)
	k.do(commands.CancelRun{Run: stream})
	if status, body := k.post("/api/v1/runs/"+run.ID+"/erase", "erase-run", v1.Erase{}); status != http.StatusOK {
		t.Fatalf("erase run: %d %s", status, body)
	}
	k.erased("/api/v1/runs/" + run.ID)
	if _, err := k.client.EraseFile(t.Context(), f.ID, "", hishamos.Command{}); err != nil {
		t.Fatal(err)
	}
	k.erased("/api/v1/files/" + f.ID)
	k.eventually("the content is gone", func() bool { _, err := k.read(f.ID, 0); return isStatus(err, http.StatusNotFound) })
	k.eventually("the blobs are gone", func() bool { return k.inBlobs() == 2 })
	k.eventually("the file is removed", func() bool {
		g, err := k.client.File(t.Context(), f.ID, "")
		return err == nil && g.State == v1.FileRemoved && g.Reason == commands.FileErased
	})
	if got, err := k.read(kept.ID, 0); err != nil || len(got) != 1000 {
		t.Errorf("another file: %d bytes, %v", len(got), err)
	}
	k.quiesce()
	k.verifyAll()
	k.sweep()

	// A backup of the blobs that is restored brings nothing back.
	if err := k.operation(nil, func(o *operation, ctx context.Context) error { return o.eraseTenant(ctx, domain.DefaultTenant, "") }); err != nil {
		t.Fatal(err)
	}
	k.eventually("the tenant's blobs are gone", func() bool { return k.inBlobs() == 0 })
	k.eventually("the tenant's files are gone", func() bool {
		k.node.ring.Forget()
		k.dispatcher.Forget(nil)
		_, err := k.read(kept.ID, 0)
		return isStatus(err, http.StatusNotFound)
	})
	k.verifyAll()
}

func isStatus(err error, status int) bool {
	refused, ok := errors.AsType[*hishamos.Error](err)
	return ok && refused.Status == status
}

func TestVerifyNamesABlobThatIsMissingOrChangedWithItsEvent(t *testing.T) {
	t.Parallel()
	k := newFileKit(t, newDrill(t))
	f := k.upload("a.txt", songs(100))
	k.quiesce()
	k.verifyAll()
	m, err := blob.ReadManifest(t.Context(), k.blobs, domain.DefaultTenant, blob.Address(f.Hash))
	k.must(err)
	path := filepath.Join(k.blobFolder(), "default", string(m.Parts[0].Blob[:2]), string(m.Parts[0].Blob))
	whole, err := os.ReadFile(path)
	k.must(err)
	harmed := append(append([]byte(nil), whole[:len(whole)-1]...), whole[len(whole)-1]^1)
	for name, harm := range map[string]func() error{
		"missing": func() error { return os.Remove(path) },
		"changed": func() error { return os.WriteFile(path, harmed, 0o600) },
	} {
		k.must(harm())
		err := k.operation(nil, func(o *operation, ctx context.Context) error { return o.verify(ctx, verification{full: true}) })
		var wrong *blobError
		if !errors.As(err, &wrong) || wrong.address != string(m.Parts[0].Blob) || string(wrong.event) != "default/"+f.ID+"/2" {
			t.Errorf("%s: %v", name, err)
		}
		k.must(os.WriteFile(path, whole, 0o600))
	}
	k.verifyAll()
}

func TestUploadsThatNobodyEndsAndFilesThatNobodyUsesExpire(t *testing.T) {
	t.Parallel()
	k := newFileKit(t, newDrill(t))
	begun, err := k.client.BeginUpload(t.Context(), hishamos.NewUpload{Size: 10}, hishamos.Command{})
	k.must(err)
	k.patch(begun.ID, 0, "12345", http.StatusNoContent)
	unused, used := k.upload("unused.txt", songs(50)), k.upload("used.txt", songs(60))
	k.do(commands.UseFile{File: domain.NewStreamID(domain.DefaultTenant, used.ID), By: "run_1"})
	k.quiesce()
	now := clock{}.Now()
	k.must(k.settleOnce(t.Context(), now.Add(k.cfg.UploadExpiry-time.Minute)))
	if s, err := k.client.Upload(t.Context(), begun.ID); err != nil || s.Offset != 5 {
		t.Errorf("before its time: %+v, %v", s, err)
	}
	k.must(k.settleOnce(t.Context(), now.Add(k.cfg.UploadExpiry+time.Minute)))
	if _, err := k.client.Upload(t.Context(), begun.ID); !isStatus(err, http.StatusNotFound) {
		t.Errorf("an expired upload: %v", err)
	}
	k.eventually("its parts are gone", func() bool { return k.inBlobs() == 4 })
	k.must(k.settleOnce(t.Context(), now.Add(k.cfg.FileExpiry+time.Minute)))
	k.eventually("the unused file is gone", func() bool { return k.inBlobs() == 2 })
	for id, want := range map[string]file.Phase{unused.ID: file.Removed, used.ID: file.Ready} {
		k.eventually(id+" is "+string(want), func() bool {
			s, err := k.fileState(t.Context(), domain.NewStreamID(domain.DefaultTenant, id))
			return err == nil && s.Phase == want
		})
	}
	k.verifyAll()
}

func TestTheEndOfAnEmptyFileTakesNothingFromAnother(t *testing.T) {
	t.Parallel()
	k := newFileKit(t, newDrill(t))
	one, two := k.upload("one.txt", nil), k.upload("two.txt", nil)
	_, err := k.client.EraseFile(t.Context(), one.ID, "", hishamos.Command{})
	k.must(err)
	k.eventually("the file is gone", func() bool {
		_, err := k.read(one.ID, 0)
		return err != nil
	})
	k.quiesce()
	if got, err := k.read(two.ID, 0); err != nil || len(got) != 0 {
		t.Errorf("the other: %d bytes, %v", len(got), err)
	}
	k.verifyAll()
}

// overtaken is a blob store to whose readers something happens just before they
// read.
type overtaken struct {
	blob.Store
	by func()
}

func (o overtaken) Get(ctx context.Context, t domain.Tenant, a blob.Address) ([]byte, error) {
	o.by()
	return o.Store.Get(ctx, t, a)
}

func TestAFileThatIsErasedWhileItIsOpenedIsNotFound(t *testing.T) {
	t.Parallel()
	k := newFileKit(t, newDrill(t))
	erased, lost := k.upload("erased.txt", songs(100)), k.upload("lost.txt", songs(200))
	open := func(f v1.File, meanwhile func(stream domain.StreamID)) error {
		stream := domain.NewStreamID(domain.DefaultTenant, f.ID)
		n := &node{dispatcher: k.dispatcher, blobs: overtaken{k.blobs, func() { meanwhile(stream) }}}
		_, _, err := n.openFile(t.Context(), stream)
		return err
	}
	err := open(erased, func(stream domain.StreamID) {
		k.do(commands.RemoveFile{File: stream, Reason: commands.FileErased})
		k.must(k.removeFile(t.Context(), stream))
	})
	if !errors.Is(err, file.ErrNotFound) {
		t.Errorf("an erased file: %v", err)
	}
	err = open(lost, func(domain.StreamID) {
		k.must(k.blobs.Remove(t.Context(), domain.DefaultTenant, blob.Address(lost.Hash)))
	})
	if !errors.Is(err, blob.ErrMissing) {
		t.Errorf("a file whose blobs were lost: %v", err)
	}
}

// patch sends one piece.
func (k *fileKit) patch(id string, offset int, content string, want int) {
	k.t.Helper()
	r, err := http.NewRequestWithContext(k.t.Context(), http.MethodPatch, k.server+"/api/v1/uploads/"+id, strings.NewReader(content))
	k.must(err)
	r.Header.Set("Authorization", "Bearer "+k.secret)
	r.Header.Set("Content-Type", "application/offset+octet-stream")
	r.Header.Set("Upload-Offset", fmt.Sprint(offset))
	a, err := http.DefaultClient.Do(r)
	k.must(err)
	body, err := io.ReadAll(a.Body)
	k.must(errors.Join(err, a.Body.Close()))
	if a.StatusCode != want {
		k.t.Errorf("PATCH at %d answers %d, not %d: %s", offset, a.StatusCode, want, body)
	}
}

func TestATenantsQuotaAndTheLargestFileAreNamed(t *testing.T) {
	t.Parallel()
	k := newFileKit(t, newDrill(t, "HISHAMOS_UPLOAD_LIMIT=1000B", "HISHAMOS_UPLOAD_QUOTA=1500B"))
	begin := func(size int64, key string) error {
		_, err := k.client.BeginUpload(t.Context(), hishamos.NewUpload{Size: size}, hishamos.Command{Key: key})
		return err
	}
	for size, code := range map[int64]string{1001: "upload.too_large", 1 << 62: "upload.too_large"} {
		if refused, ok := errors.AsType[*hishamos.Error](begin(size, "")); !ok || refused.Status != http.StatusRequestEntityTooLarge || refused.Code != code || !strings.Contains(refused.Detail, "HISHAMOS_UPLOAD_LIMIT") {
			t.Errorf("%d bytes: %v", size, refused)
		}
	}
	k.must(begin(1000, "one"))
	k.must(begin(1000, "one")) // a repetition takes no room of its own
	if refused, ok := errors.AsType[*hishamos.Error](begin(600, "")); !ok || refused.Status != http.StatusRequestEntityTooLarge || !strings.Contains(refused.Fix, "HISHAMOS_UPLOAD_QUOTA") {
		t.Errorf("beyond the quota: %v", refused)
	}
	k.must(begin(500, ""))
}

// A run reads the text of the file that its input refers to, and what it may not
// read it does not get.
func TestARunIsGivenTheTextOfAFile(t *testing.T) {
	t.Parallel()
	k := newFileKit(t, newDrill(t))
	f := k.upload("notes.txt", []byte("The "+songbird+" needs a van. The "+songbird+" must arrive on Friday."))
	work := domain.Work{Stream: drillRun(), Input: json.RawMessage(`{"notes":{"file":"` + f.ID + `"},"n":1}`), Files: []string{f.ID}}
	input, fault, err := k.resolve(t.Context(), work)
	if err != nil || fault != nil || !strings.Contains(string(input), "must arrive on Friday") {
		t.Errorf("resolved: %s, %v, %v", input, fault, err)
	}
	work.Files = nil // nobody was asked for the right to read it
	if input, _, err := k.resolve(t.Context(), work); err != nil || strings.Contains(string(input), songbird) {
		t.Errorf("a file the run was not started with: %s, %v", input, err)
	}
	reference := json.RawMessage(`{"file":"` + f.ID + `"}`)
	status, body := k.post("/api/v1/workflows/two-step/runs", "file", v1.StartRun{Inputs: map[string]json.RawMessage{"notes": reference}})
	if status != http.StatusCreated {
		t.Fatalf("start: %d %s", status, body)
	}
	var run v1.Receipt
	k.must(json.Unmarshal([]byte(body), &run))
	first, err := k.store.ReadStream(t.Context(), domain.RunID(run.ID).Stream(domain.DefaultTenant), 0, 1)
	k.must(err)
	started, err := first[0].Decode()
	k.must(err)
	if got := started.Event.(events.RunStarted).Files; len(got) != 1 || got[0] != f.ID {
		t.Errorf("the run names the files %v", got)
	}
	if s, err := k.fileState(t.Context(), domain.NewStreamID(domain.DefaultTenant, f.ID)); err != nil || !s.Used {
		t.Errorf("the file is not in use: %+v, %v", s, err)
	}
	for name, id := range map[string]string{"missing": "file_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a"} {
		status, body := k.post("/api/v1/workflows/two-step/runs", name, v1.StartRun{Inputs: map[string]json.RawMessage{"notes": json.RawMessage(`{"file":"` + id + `"}`)}})
		if status != http.StatusUnprocessableEntity || !strings.Contains(body, "inputs.notes") {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	blind := auth.NewSecret()
	k.do(commands.IssueToken{
		Token: domain.NamedStreamID(domain.DefaultTenant, "token", "blind"), Tenant: domain.DefaultTenant, Actor: domain.Actor{ID: "u_2", Kind: domain.Human},
		Permissions: []domain.Permission{domain.RunStart, domain.FileRead, domain.WorkflowRead}, SecretHash: auth.Hash(blind),
	})
	k.quiesce()
	k.secret = blind
	if status, body := k.post("/api/v1/workflows/two-step/runs", "blind", v1.StartRun{Inputs: map[string]json.RawMessage{"notes": reference}}); status != http.StatusForbidden {
		t.Errorf("without content:read: %d %s", status, body)
	}
	if status, _ := k.get("/api/v1/files/" + f.ID + "/content"); status != http.StatusForbidden {
		t.Errorf("content without content:read: %d", status)
	}
	if _, body := k.get("/api/v1/files"); strings.Contains(body, "notes.txt") || !strings.Contains(body, "[sealed]") {
		t.Errorf("list without content:read: %s", body)
	}
}
