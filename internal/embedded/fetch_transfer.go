package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	tries     = 4
	tryAgain  = 250 * time.Millisecond // doubled from try to try
	stallsFor = 30 * time.Second       // without a byte: the connection is given up
	jarLimit  = 256 << 20
)

// errFinal marks an answer that a further try would not change.
var errFinal = errors.New("the server refuses")

// transfer brings the whole file to part, going on where an earlier attempt was
// cut off. Proxy variables are honoured.
func (f fetcher) transfer(ctx context.Context, part string) error {
	var err error
	for try := range tries {
		if try > 0 {
			if e := wait(ctx, tryAgain<<try); e != nil {
				return e
			}
		}
		if err = f.try(ctx, part); err == nil || errors.Is(err, errFinal) || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func (f fetcher) try(ctx context.Context, part string) (err error) {
	u, err := f.url()
	if err != nil {
		return err
	}
	file, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	have, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(stallsFor, func() { cancel(fmt.Errorf("no byte came for %s", stallsFor)) })
	defer stall.Stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	if have > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	response, err := http.DefaultClient.Do(request) // its errors hide passwords
	if err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	defer response.Body.Close()
	total := response.ContentLength
	switch response.StatusCode {
	case http.StatusPartialContent:
		var from int64
		if from, total, err = contentRange(response.Header.Get("Content-Range")); err != nil || from != have {
			return errors.Join(fmt.Errorf("asked for bytes from %d, got %q", have, response.Header.Get("Content-Range")), file.Truncate(0))
		}
	case http.StatusOK: // the whole, whatever we asked for
		have = 0
		if err := file.Truncate(0); err != nil {
			return err
		}
	case http.StatusRequestedRangeNotSatisfiable: // the part is already as long as the file, or longer
		if _, total, err = contentRange(response.Header.Get("Content-Range")); err == nil && total == have {
			return nil
		}
		return errors.Join(errors.New("the part is longer than the file"), file.Truncate(0))
	default:
		err := fmt.Errorf("%s answers %s", f.source(), response.Status)
		if response.StatusCode < 500 && response.StatusCode != http.StatusTooManyRequests && response.StatusCode != http.StatusRequestTimeout {
			err = fmt.Errorf("%w: %w", errFinal, err)
		}
		return err
	}
	if total > jarLimit {
		return fmt.Errorf("%w: the file has %d bytes, more than the limit of %d", errFinal, total, jarLimit)
	}
	if _, err := file.Seek(have, io.SeekStart); err != nil {
		return err
	}
	body := &meter{from: io.LimitReader(response.Body, jarLimit), done: have, total: total, progress: f.progress, moved: func() { stall.Reset(stallsFor) }}
	if _, err := io.Copy(file, body); err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	if total >= 0 && body.done != total {
		return fmt.Errorf("got %d of %d bytes: %w", body.done, total, io.ErrUnexpectedEOF)
	}
	return file.Sync()
}

// contentRange reads `bytes 5-9/10` and `bytes */10`.
func contentRange(header string) (from, total int64, err error) {
	span, size, ok := strings.Cut(strings.TrimPrefix(header, "bytes "), "/")
	if !ok {
		return 0, 0, fmt.Errorf("cannot read the range %q", header)
	}
	if total, err = strconv.ParseInt(size, 10, 64); err != nil {
		return 0, 0, err
	}
	if first, _, ok := strings.Cut(span, "-"); ok {
		from, err = strconv.ParseInt(first, 10, 64)
	}
	return from, total, err
}

// meter counts what passes.
type meter struct {
	from        io.Reader
	done, total int64
	progress    func(done, total int64)
	moved       func()
}

func (m *meter) Read(b []byte) (int, error) {
	n, err := m.from.Read(b)
	if n > 0 {
		m.moved()
		m.done += int64(n)
		if m.progress != nil {
			m.progress(m.done, m.total)
		}
	}
	return n, err
}
