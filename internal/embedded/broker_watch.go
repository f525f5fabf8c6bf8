package embedded

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// watchEvery is how often the broker's files are looked at.
const watchEvery = time.Second

// Watch looks after the broker's files until ctx ends. kfake takes them to be as
// it wrote them: where the file that a partition writes to was cut short or
// removed, it would go on writing what nobody can read. Then the broker starts
// anew on what is whole, at the same address, and the relay publishes again what
// it lacks.
func (b *Broker) Watch(ctx context.Context) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		// Twice: a file may be written to or trimmed between the two looks.
		if b.hurt() != "" {
			if hurt := b.hurt(); hurt != "" {
				b.opts.Logger.Error("a file of the embedded log was damaged; the log starts anew and is mended from the store", "partition", hurt)
				if err := b.restart(); err != nil {
					return fmt.Errorf("start the embedded log anew: %w", err)
				}
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// hurt names a partition whose files hold less than was written to them.
func (b *Broker) hurt() string {
	folders, err := filepath.Glob(filepath.Join(b.dir, "partitions", "*"))
	if err != nil {
		return "" // only a wrong pattern
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped || b.cluster == nil {
		return ""
	}
	for _, folder := range folders {
		name := filepath.Base(folder)
		dash := strings.LastIndex(name, "-")
		if dash < 0 {
			continue
		}
		topic, terr := url.PathUnescape(name[:dash])
		id, ierr := strconv.ParseInt(name[dash+1:], 10, 32)
		if terr != nil || ierr != nil {
			continue
		}
		info := b.cluster.PartitionInfo(topic, int32(id))
		if info == nil {
			continue // deleted meanwhile
		}
		files, err := filepath.Glob(filepath.Join(folder, "*.dat"))
		if err != nil {
			continue
		}
		var size int64
		for _, f := range files {
			if i, err := os.Stat(f); err == nil {
				size += i.Size()
			}
		}
		if size < info.NumBytes {
			return name
		}
	}
	return ""
}

// restart closes the cluster and opens it on its folder again.
func (b *Broker) restart() error {
	_, text, err := net.SplitHostPort(b.addr)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return nil
	}
	b.cluster.Close()
	b.cluster = nil
	return b.brokerOpen(port)
}
