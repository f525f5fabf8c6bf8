package main

import (
	"bytes"
	"errors"
	"net/http"
	"testing"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/auth"
	"github.com/hishamos/hishamos/internal/blob"
	hishamos "github.com/hishamos/hishamos/sdk/go"
)

func TestAFullDiskRefusesUploadsAndLosesNothing(t *testing.T) {
	t.Parallel()
	a := newAlone(t)
	disk := a.volume("24m", "blobs")
	p := a.start()
	c := &canaryProcess{process: p, logged: &lines{}, secret: auth.NewSecret()}
	c.do(commands.IssueToken{
		Token: domain.NamedStreamID(domain.DefaultTenant, "token", "jo"), Tenant: domain.DefaultTenant, Actor: domain.Actor{ID: "u_1", Kind: domain.Human},
		Permissions: []domain.Permission{domain.AllPermissions}, SecretHash: auth.Hash(c.secret),
	})
	c.server = c.serveHere()
	c.quiesce()
	client, err := hishamos.New(c.server, c.secret, hishamos.Options{Tries: 1})
	c.must(err)
	k := &fileKit{c, client}
	before := k.upload("before.txt", songs(1000))
	content := songs(2*blob.PartSize + 1000)
	begun, err := client.BeginUpload(t.Context(), hishamos.NewUpload{Size: int64(len(content))}, hishamos.Command{})
	c.must(err)
	k.patch(begun.ID, 0, string(content[:blob.PartSize]), http.StatusNoContent)
	disk.fill()
	k.patch(begun.ID, blob.PartSize, string(content[blob.PartSize:]), http.StatusInsufficientStorage)
	if _, err := client.BeginUpload(t.Context(), hishamos.NewUpload{Size: 1 << 20}, hishamos.Command{}); !isStatus(err, http.StatusInsufficientStorage) {
		refused, _ := errors.AsType[*hishamos.Error](err)
		t.Errorf("a new upload: %v, %+v", err, refused)
	}
	if at, err := client.Upload(t.Context(), begun.ID); err != nil || at.Offset != blob.PartSize {
		t.Errorf("it stands at %d, %v", at.Offset, err)
	}
	if got, err := k.read(before.ID, 0); err != nil || len(got) != 1000 {
		t.Errorf("reading on a full disk: %d bytes, %v", len(got), err)
	}
	disk.free()
	f, err := client.SendUpload(t.Context(), begun.ID, bytes.NewReader(content), nil)
	c.must(err)
	if got, err := k.read(f.ID, 0); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	c.quiesce()
	c.verifyAll()
}
