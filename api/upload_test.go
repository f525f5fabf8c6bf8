package api_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/hishamos/hishamos/api"
	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
)

// upload begins an upload of a length and returns its id.
func (f *fixture) upload(length string, headers ...string) string {
	f.t.Helper()
	a := f.call("POST", "/api/v1/uploads", "", append(headers, "Upload-Length", length)...)
	f.want(a, http.StatusCreated, "")
	return decode[v1.Receipt](f.t, a).ID
}

// patch sends a piece.
func (f *fixture) patch(id, offset, content string, headers ...string) answer {
	f.t.Helper()
	return f.call("PATCH", "/api/v1/uploads/"+id, content, append([]string{"Content-Type", "application/offset+octet-stream", "Upload-Offset", offset}, headers...)...)
}

func TestAnUploadFollowsTheTusProtocol(t *testing.T) {
	t.Parallel()
	f := setup(t)
	options := f.as("", "OPTIONS", "/api/v1/uploads", "")
	if options.StatusCode != http.StatusNoContent || options.Header.Get("Tus-Version") != "1.0.0" || options.Header.Get("Tus-Max-Size") == "" || options.Header.Get("Tus-Resumable") != "1.0.0" ||
		options.Header.Get("Tus-Extension") != "creation,expiration,checksum,termination" || options.Header.Get("Tus-Checksum-Algorithm") != "sha256,sha1" {
		t.Errorf("options: %d %v", options.StatusCode, options.Header)
	}
	begun := f.call("POST", "/api/v1/uploads", "", "Tus-Resumable", "1.0.0", "Upload-Length", "10", "Upload-Metadata", "filename cGxhbi50eHQ=,filetype dGV4dC9wbGFpbg==,other")
	f.want(begun, http.StatusCreated, "")
	id := decode[v1.Receipt](t, begun).ID
	where := begun.Header.Get("Location")
	if where != "/api/v1/uploads/"+id || begun.Header.Get("Upload-Expires") == "" || begun.Header.Get("Tus-Resumable") != "1.0.0" {
		t.Errorf("created: %v", begun.Header)
	}
	if a := f.patch(id, "0", "01234"); a.StatusCode != http.StatusNoContent || a.Header.Get("Upload-Offset") != "5" {
		t.Errorf("first piece: %d %v", a.StatusCode, a.Header)
	}
	f.want(f.patch(id, "3", "x"), http.StatusConflict, "upload.offset")
	head := f.call("HEAD", where, "", "Tus-Resumable", "1.0.0")
	if head.StatusCode != http.StatusOK || head.Header.Get("Upload-Offset") != "5" || head.Header.Get("Upload-Length") != "10" || head.Header.Get("Cache-Control") != "no-store" || head.body != "" {
		t.Errorf("head: %d %v", head.StatusCode, head.Header)
	}
	sum := sha256.Sum256([]byte("56789"))
	f.want(f.patch(id, "5", "56788", "Upload-Checksum", "sha256 "+base64.StdEncoding.EncodeToString(sum[:])), 460, "upload.checksum")
	a := f.patch(id, "5", "56789", "Upload-Checksum", "sha256 "+base64.StdEncoding.EncodeToString(sum[:]))
	if a.StatusCode != http.StatusNoContent || a.Header.Get("Upload-Offset") != "10" || a.Header.Get("Hishamos-Position") == "" {
		t.Errorf("last piece: %d %v", a.StatusCode, a.Header)
	}
	file := decode[v1.File](t, f.call("GET", "/api/v1/files/"+id, ""))
	if file.State != v1.FileReady || file.Name != "plan.txt" || file.MediaType != "text/plain" || file.Size != 10 {
		t.Errorf("file: %+v", file)
	}
	content := f.call("GET", "/api/v1/files/"+id+"/content", "")
	if content.body != "0123456789" || content.Header.Get("Content-Type") != "text/plain" || !strings.HasPrefix(content.Header.Get("Content-Disposition"), "attachment;") {
		t.Errorf("content: %q %v", content.body, content.Header)
	}
	part := f.call("GET", "/api/v1/files/"+id+"/content", "", "Range", "bytes=3-5")
	if part.StatusCode != http.StatusPartialContent || part.body != "345" {
		t.Errorf("part: %d %q", part.StatusCode, part.body)
	}
	for asked, size := range map[string]string{"bytes=10-12": "bytes */10", "bytes=-": "", "pages=1": ""} {
		refused := f.call("GET", "/api/v1/files/"+id+"/content", "", "Range", asked)
		f.want(refused, http.StatusRequestedRangeNotSatisfiable, "file.range")
		if h := refused.Header; h.Get("Content-Range") != size || h.Get("Content-Disposition") != "" || h.Get("ETag") != "" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("range %s: %v", asked, h)
		}
	}
	f.want(f.call("DELETE", where, ""), http.StatusConflict, "file.complete")
	other := f.upload("10")
	if a := f.call("DELETE", "/api/v1/uploads/"+other, ""); a.StatusCode != http.StatusNoContent {
		t.Errorf("end: %d %s", a.StatusCode, a.body)
	}
	f.want(f.call("GET", "/api/v1/uploads/"+other, ""), http.StatusNotFound, "file.not_found")
}

func TestTheHeadOfAFileReadsNoneOfIt(t *testing.T) {
	t.Parallel()
	f := setup(t)
	id := f.upload("10")
	f.want(f.patch(id, "0", "0123456789"), http.StatusNoContent, "")
	before := f.Shelf.Read()
	for _, asked := range []string{"", "bytes=3-5", "bytes=10-12"} {
		a := f.call("HEAD", "/api/v1/files/"+id+"/content", "", "Range", asked)
		if a.StatusCode != http.StatusOK || a.ContentLength != 10 || a.Header.Get("ETag") == "" || a.Header.Get("Content-Disposition") == "" || a.body != "" {
			t.Errorf("range %q: %d %v", asked, a.StatusCode, a.Header)
		}
	}
	if n := f.Shelf.Read() - before; n != 0 {
		t.Errorf("%d bytes were read", n)
	}
	f.call("GET", "/api/v1/files/"+id+"/content", "")
	if n := f.Shelf.Read() - before; n != 10 {
		t.Errorf("GET reads %d bytes", n)
	}
}

func TestAnUploadThatIsWrongIsRefusedWithItsField(t *testing.T) {
	t.Parallel()
	f := setup(t)
	id := f.upload("10")
	for name, headers := range map[string][]string{
		"Upload-Length":   {"Upload-Defer-Length", "1"},
		"Upload-Metadata": {"Upload-Length", "1", "Upload-Metadata", "filename %"},
	} {
		a := f.call("POST", "/api/v1/uploads", "", headers...)
		if f.want(a, http.StatusUnprocessableEntity, ""); !strings.Contains(a.body, name) {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	f.want(f.call("POST", "/api/v1/uploads", "", "Upload-Length", "99999999999999"), http.StatusRequestEntityTooLarge, "upload.too_large")
	f.want(f.call("POST", "/api/v1/uploads", "", "Upload-Length", "1", "Tus-Resumable", "0.2.2"), http.StatusPreconditionFailed, "upload.version")
	f.want(f.patch(id, "0", "x", "Content-Type", "application/json"), http.StatusUnsupportedMediaType, "upload.media_type")
	f.want(f.patch(id, "0", "x", "Upload-Checksum", "md5 AAAA"), http.StatusUnprocessableEntity, "")
	f.want(f.patch("run_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a", "0", "x"), http.StatusNotFound, "not_found")
	f.want(f.as(stranger, "GET", "/api/v1/uploads/"+id, ""), http.StatusNotFound, "file.not_found")
	f.want(f.as(reader, "GET", "/api/v1/uploads/"+id, ""), http.StatusForbidden, "permission.missing")
	f.want(f.as(reader, "POST", "/api/v1/uploads", "", "Upload-Length", "1"), http.StatusForbidden, "permission.missing")
	f.want(f.call("GET", "/api/v1/files/"+id+"/content", ""), http.StatusNotFound, "")

	before := f.Shelf.Begun()
	one := f.upload("7", "Idempotency-Key", "same")
	f.Shelf.Room = &domain.Error{Kind: domain.TooLarge, Code: "upload.quota", Message: "is too much"}
	if again := f.upload("7", "Idempotency-Key", "same"); again != one {
		t.Errorf("a repetition begins %s, at first %s", again, one)
	}
	f.Shelf.Room = nil
	if again := f.upload("7", "Idempotency-Key", "same"); again != one || f.Shelf.Begun() != before+1 {
		t.Errorf("a repetition keeps room for %d files", f.Shelf.Begun()-before)
	}
	f.want(f.call("POST", "/api/v1/uploads", "", "Upload-Length", "8", "Idempotency-Key", "same"), http.StatusUnprocessableEntity, "command.id_reused")
	if a := f.call("DELETE", "/api/v1/uploads/"+one, ""); a.StatusCode != http.StatusNoContent {
		t.Errorf("end: %d %s", a.StatusCode, a.body)
	}
	again := f.call("POST", "/api/v1/uploads", "", "Upload-Length", "7", "Idempotency-Key", "same")
	f.want(again, http.StatusCreated, "")
	if r := decode[v1.Receipt](t, again); r.ID != one {
		t.Errorf("after its end, the repetition answers %s, and first answered %s", r.ID, one)
	}
}

// asked keeps the requests for the use of a file.
type asked struct {
	commands.Dispatcher
	mu   sync.Mutex
	uses []domain.CommandID
}

func (a *asked) Do(ctx context.Context, r commands.Request) (commands.Receipt, error) {
	if _, ok := r.Command.(commands.UseFile); ok {
		a.mu.Lock()
		a.uses = append(a.uses, r.ID)
		a.mu.Unlock()
	}
	return a.Dispatcher.Do(ctx, r)
}

func TestAStartThatIsRepeatedUsesItsFilesOnceAndARefusedOneUsesNone(t *testing.T) {
	t.Parallel()
	var seen asked
	f := setup(t, func(o *api.Options) { seen.Dispatcher, o.Dispatcher = o.Dispatcher, &seen })
	id, other := f.upload("3"), f.upload("3")
	f.want(f.patch(id, "0", "abc"), http.StatusNoContent, "")
	start := func(inputs, key string) answer {
		return f.call("POST", "/api/v1/workflows/stock/runs", `{"inputs":`+inputs+`}`, "Idempotency-Key", key)
	}
	used := func() bool {
		a := f.call("GET", "/api/v1/files/"+id, "")
		return decode[v1.File](t, a).Used
	}
	reference := `{"file":"` + id + `"}`
	for field, inputs := range map[string]string{
		"inputs.extra": `{"notes":` + reference + `,"extra":1}`,
		"inputs.zero":  `{"notes":` + reference + `,"zero":{"file":"` + other + `"}}`,
	} {
		a := start(inputs, field)
		if f.want(a, http.StatusUnprocessableEntity, ""); !strings.Contains(a.body, field) || used() {
			t.Errorf("%s: used is %t: %s", field, used(), a.body)
		}
	}
	first := start(`{"notes":`+reference+`}`, "one")
	f.want(first, http.StatusCreated, "")
	again := start(`{"notes":`+reference+`}`, "one")
	if again.StatusCode != http.StatusCreated || again.body != first.body || !used() {
		t.Errorf("repeated: %s, first %s", again.body, first.body)
	}
	f.want(start(`{"notes":`+reference+`}`, "two"), http.StatusCreated, "")
	seen.mu.Lock()
	defer seen.mu.Unlock()
	if u := seen.uses; len(u) != 3 || u[0] != u[1] || u[1] == u[2] {
		t.Errorf("the uses of two starts, the first of them repeated, are %v", u)
	}
}
