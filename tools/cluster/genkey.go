package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
)

// generateKey writes a new P-256 private key to the file named by the only argument. The API server and the
// controller manager both take the private key; the public half is derived from it.
func generateKey() int {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: cluster genkey FILE")
		return 2
	}
	if err := writeKey(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func writeKey(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	encoded, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded})
	return os.WriteFile(path, block, 0o600)
}
