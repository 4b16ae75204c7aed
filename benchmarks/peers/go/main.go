// Command ecdsa signs playback tokens with Go's standard library only, without a JWT package.
//
// For each input line "NAME SECONDS" it prints a line of JSON: the number of tokens, the seconds and the CPU time that
// they took, and the last token. The key is parsed once. The name is ignored.
package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

const (
	ttlSeconds      = 300
	coordinateBytes = 48
	batchSize       = 16
)

type claims struct {
	ChannelARN string `json:"aws:channel-arn"`
	ViewerID   string `json:"aws:viewer-id"`
	Version    int64  `json:"aws:viewer-session-version"`
	Exp        int64  `json:"exp"`
}

type measurement struct {
	Calls      int     `json:"calls"`
	Seconds    float64 `json:"seconds"`
	CPUSeconds float64 `json:"cpu_seconds"`
	Token      string  `json:"token"`
}

var header = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES384","typ":"JWT"}`))

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(channelARN, viewerID string) error {
	key, err := readKey(os.Getenv("BENCHMARK_KEY_FILE"))
	if err != nil {
		return err
	}
	responses := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var name string
		var seconds float64
		if _, err := fmt.Sscan(lines.Text(), &name, &seconds); err != nil {
			return err
		}
		result, err := measure(key, channelARN, viewerID, seconds)
		if err != nil {
			return err
		}
		if err := responses.Encode(result); err != nil {
			return err
		}
	}
	return lines.Err()
}

func measure(key *ecdsa.PrivateKey, channelARN, viewerID string, seconds float64) (measurement, error) {
	var result measurement
	usedBefore, err := cpuSeconds()
	if err != nil {
		return result, err
	}
	started := time.Now()
	for result.Calls == 0 || time.Since(started).Seconds() < seconds {
		for call := 0; call < batchSize; call++ {
			if result.Token, err = sign(key, channelARN, viewerID); err != nil {
				return result, err
			}
		}
		result.Calls += batchSize
	}
	result.Seconds = time.Since(started).Seconds()
	used, err := cpuSeconds()
	result.CPUSeconds = used - usedBefore
	return result, err
}

func sign(key *ecdsa.PrivateKey, channelARN, viewerID string) (string, error) {
	now := time.Now().Unix()
	payload, err := json.Marshal(claims{channelARN, viewerID, now, now + ttlSeconds})
	if err != nil {
		return "", err
	}
	signed := header + "." + base64.RawURLEncoding.EncodeToString(payload)
	digest := sha512.Sum384([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return "", err
	}
	signature := make([]byte, 2*coordinateBytes)
	r.FillBytes(signature[:coordinateBytes])
	s.FillBytes(signature[coordinateBytes:])
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func readKey(path string) (*ecdsa.PrivateKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("the key file does not contain PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, isEC := parsed.(*ecdsa.PrivateKey)
	if !isEC {
		return nil, errors.New("the key file does not contain an elliptic curve key")
	}
	return key, nil
}

func cpuSeconds() (float64, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, err
	}
	nanoseconds := usage.Utime.Nano() + usage.Stime.Nano()
	return float64(nanoseconds) / 1e9, nil
}
