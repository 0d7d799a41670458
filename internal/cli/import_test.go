package cli

import (
	"bytes"
	"strings"
	"testing"

	"lyftr/internal/message"
	"lyftr/internal/transfer"
)

// TestImportBatches: a batch is bounded by the bytes of the file that make it,
// raw too, and the mark of the last one is the end.
func TestImportBatches(t *testing.T) {
	const n, size = 12, 1 << 20
	m := message.Message{
		Source: "whatsapp", ID: "m", From: "MyBrand", TS: "2025-01-15T10:00:00Z", Raw: []byte(`{"a":"` + strings.Repeat("x", size) + `"}`),
	}
	for _, format := range []transfer.Format{transfer.NDJSON, transfer.CSV} {
		file := []byte(format.Header())
		for range n {
			file = format.Append(file, &m)
		}
		batches := make(chan importBatch)
		go func() {
			defer close(batches)
			readBatches(t.Context(), transfer.NewReader(format, bytes.NewReader(file)), false, batches)
		}()
		got, last := 0, transfer.Mark{}
		for b := range batches {
			if took := b.mark.Offset - last.Offset; took > batchBytes+2*size {
				t.Errorf("%s: a batch of %d bytes", format, took)
			}
			for i := range b.messages {
				if !bytes.Equal(b.messages[i].Raw, m.Raw) {
					t.Errorf("%s: another raw", format)
				}
			}
			got, last = got+len(b.messages), b.mark
		}
		if got != n || last.Offset != int64(len(file)) {
			t.Errorf("%s: %d messages of %d, %d bytes of %d", format, got, n, last.Offset, len(file))
		}
	}
}
