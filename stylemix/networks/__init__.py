"""The StyleGAN2 generator and discriminator, their sizes, and the latent spaces z, w and W+."""
