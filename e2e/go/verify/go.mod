module meshca.dev/e2e/verify

go 1.26
