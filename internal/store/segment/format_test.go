package segment_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
	"testing"

	"lyftr/internal/message"
	"lyftr/internal/store/segment"
)

// TestFormat: segments stand in databases. What is made of the same messages
// stays the same to the last byte, or the version in the header changes. That
// merging makes the same as building is TestMergedIsBuilt.
func TestFormat(t *testing.T) {
	const want = "74c272a61fddf1fa07344485c99cfabed47a2ef81c5933322ff7c1ac3fec0b17"
	texts := []string{
		"", "a", "ok ok", "Hello, is it still available? see-you o'clock it's", "naïve Äpfel straße ΣΊΣΥΦΟΣ", "مرحبا بالعالم، كيف", "नमस्ते दुनिया",
		"你好,世界 訂單 12345", "東京 タワー カメラ", "한국어 문장", "😀 🎉ok🎉 a\x00b 𐐷𐐷𐐷𐐷", "wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww end",
		"\xff\xfe not \xe2\x82 UTF-8 ab\xffcd", "\ufffd x\ufffdy", "order 7 of 12: ÅÅÅ ae ab abc abcd b",
	}
	var docs []segment.Doc
	for i := range 2 * segment.ChunkSize {
		docs = append(docs, segment.Doc{
			ID: int64(i), From: uint32(i % 97), To: uint32(i % 3), Time: int64(1_700_000_000 + i*61%100_000),
			Text: message.Fold(texts[i%len(texts)] + " " + texts[i*i%len(texts)]),
		})
	}
	parts := map[int][]byte{}
	header, err := segment.Build(0, 2, slices.Values(docs), keep(t, parts))
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	h.Write(header)
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(part)))
		h.Write(parts[part])
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		t.Errorf("header and parts have the SHA-256 %s, want %s", got, want)
	}
}
