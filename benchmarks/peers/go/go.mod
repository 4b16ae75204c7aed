module tokensvc.example/peers/ecdsa

go 1.19
