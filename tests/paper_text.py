"""What the paper's text says in numbers, copied cell by cell and sentence by sentence.

Without bold type and LaTeX, and in ASCII but for the plus-minus sign: "x" is the paper's cross.
"""

# ruff: noqa: E501
TABLE_1 = """
Work | Method | Timesteps | CIFAR-10 | CIFAR-100 | ImageNet
TET Deng et al. (2022) | Loss Function | 6/6/6 | 94.50% | 74.72% | 68.00%
IM-Loss Guo et al. (2022) | Loss Function + SG | 2/2/6 | 93.85% | 70.18% | 67.43%
LocalZO + TET Mukhoty et al. (2023) | Direct Training | 2/2/x | 95.03% | 76.36% | x
Surrogate Module Deng et al. (2023) | Hybrid | 4/4/4 | 95.54% | 79.18% | 68.25%
MPBN Guo et al. (2023) | Membrane Normalization | 2/2/4 | 96.47% | 79.51% | 64.71%
Backpropagation Shortcuts Guo et al. (2024a) | Direct Training | 2/2/4 | 95.19% | 77.56% | 67.90%
IMP + LTS Shen et al. (2024) | IMP + Loss Function | x/x/4 | x | x | 68.90%
PLIF Fang et al. (2021) | Neuron Model | 8/x/x | 93.50% | x | x
GLIF Yao et al. (2022) | Neuron Model | 4/4/4 2/2/x | 94.85% 94.44% | 77.05% 75.48% | 67.52% x
LSG Lian et al. (2023) | Neuron Model + SG | 4/4/x 2/2/x | 95.17% 94.41% | 76.85% 76.32% | x x
IM-LIF Lian et al. (2024) | Neuron Model + Loss Function | 3/3/x | 95.29% | 77.21% | x
Ternary Spike Guo et al. (2024b) | Neuron Model | 2/2/4 | 95.80% | 80.20% | 70.74%
LIF (Our Implementation) | Baseline | 4/4/4 2/2/x | 96.20 ± 0.20% 96.16 ± 0.01% | 78.95 ± 0.02% 79.92 ± 0.10% | 69.04% x
LNM (Ours) | Neuron Model | 4/4/4 2/2/x | 97.01 ± 0.04% 96.96 ± 0.10% | 80.70 ± 0.14% 80.07 ± 0.13% | 70.91% ± 0.03% x
"""
TABLE_2 = """
Dataset | Work | Method | Architecture | Timesteps | Accuracy
CIFAR-10 DVS | TET Deng et al. (2022) | Loss Function | VGGsNN | 10 | 77.40%
IM-Loss Guo et al. (2022) | Loss Function + SG | ResNet-19 | 10 | 72.60%
LocalZO + TET Mukhoty et al. (2023) | Direct Training | VGGsNN | 10 | 75.62%
MPBN Guo et al. (2023) | Membrane Normalization | ResNet-19 | 10 | 74.40%
GLIF Yao et al. (2022) | Neuron Model | ResNet-19 | 16 | 78.10%
PSN Fang et al. (2023a) | Neuron Model | VGGsNN | 10 | 85.90%
LSG Lian et al. (2023) | Neuron Model + SG | VGGsNN | 10 | 77.90%
IM-LIF Lian et al. (2024) | Neuron Model + Loss Function | VGGsNN | 10 | 80.50%
Ternary Spike Guo et al. (2024b) | Neuron Model | ResNet-19 | 10 | 79.84%
LIF (Our Implementation) | Baseline | VGGsNN ResNet-19 | 10 10 | 75.10 ± 1.31% 73.16 ± 1.37%
LNM (Ours) | Neuron Model | VGGsNN ResNet-19 | 10 10 | 82.95 ± 0.69% 81.39 ± 0.25%
"""
TABLE_3 = """
Dataset | Timesteps | LIF Energy (mJ) | LNM Energy (mJ) | LNM Overhead
CIFAR-10 | 2 | 0.547 | 0.570 | 4.20%
CIFAR-100 | 2 | 0.649 | 0.672 | 3.54%
CIFAR-10 DVS | 10 | 4.758 | 5.015 | 5.40%
ImageNet | 4 | 13.725 | 14.020 | 2.15%
"""
TABLE_4 = """
Dataset | CIFAR-10 | CIFAR-100 | CIFAR-10 DVS | ImageNet
Architecture | ResNet-19 | ResNet-19 | VGGSNN/ResNet-19 | ResNet-34
Timesteps | 2/4 | 2/4 | 10 | 4
Surrogate Gradient | Rectangle | Rectangle | Triangle | Rectangle
Surrogate Gradient Window | [-0.5, 0.5] | [-0.5, 0.5] | [-0.5, 0.5] | [-0.5, 0.5]
Epochs | 400 | 400 | 200 | 350
Optimizer | SGD | SGD | SGD | SGD
Scheduler | Cosine | Cosine | Cosine | Cosine
Learning Rate | 1e-1 | 1e-1 | 1e-1 | 1e-0
LNM Learning Rate | 1e-2 | 1e-2 | 1e-3 | 1e-2
Momentum | 9e-1 | 9e-1 | 9e-1 | 9e-1
Weight Decay | 5e-4 | 5e-4 | 5e-4 | 5e-5
Label Smoothing | 1e-1 | 1e-1 | 1e-2 | 0e-0
Warm Up Epochs | 0 | 0 | 0 | 5
A100 80GB GPUs | 1 | 1 | 1 | 4
Initial Decay | 0.25 | 0.25 | 0.25 | 0.25
Threshold | 0.5 | 0.5 | 0.5 | 0.5
"""
TABLE_5 = """
Dataset | Bounding Method | Architecture | Timesteps | Accuracy
CIFAR-100 | TanH | ResNet-19 | 4 | 80.52 ± 0.08%
CIFAR-100 | Clip [-5, 5] | ResNet-19 | 4 | 80.61 ± 0.09%
CIFAR-100 | Clip [-1, 1] | ResNet-19 | 4 | 80.70 ± 0.14%
"""
SECTION_5_1 = """
For each polynomial degree, we perform three independent training runs and report the mean and
standard deviation to assess stability and performance.
Consequently, we select third-degree polynomials as the optimal choice, offering a favorable
trade-off between accuracy, stability, and computational efficiency.
"""
SECTION_5_3 = """
Noting that we utilized a threshold of 0.5 for these experiments, only a small portion of layers
(8, 10, 19, 21, 23, 25) learned neuron models that resemble LIF dynamics. Layers 6, 12, 14, 20, 22,
24, and 26 all learned dynamics similar to Quadratic Integrate-and-Fire (QIF) neurons (Gerstner et
al., 2014). A few layers (2, 7, 9, 11, 13, and 15) learned dynamics that resemble the behavior of
negative QIF neurons, a phenomenon not observed in biological neurons (Gerstner et al., 2014).
Other layers (18, 28, 30, 32) interestingly learned negative Exponential Integrate-and-Fire (ExLIF)
behavior (Gerstner et al., 2014). The remaining layers all learned dynamics that don't resemble any
known neuron models. For example, layer 4 learned sinusoidal behavior, while layers 1, 3, 5, 29,
31, and 33 learned cubic behavior. Layers 16, 17, and 27 demonstrate logarithmic behavior.
"""
SECTION_5_4 = """
We assume these operations take place with 32-bit floating point values on 45nm technology where
E_MAC = 4.6pJ and E_AC = 0.9pJ (Lian et al., 2024).
It can be seen that our third-degree LNM only introduces energy consumption overheads between
2-5.5% compared to LIF.
Note that the LIF neuron requires a singular MAC operation per neuron update, while a degree-N LNM
requires N MAC operations.
Across all experiments, training incurred an average runtime overhead of approximately 42%, while
inference exhibited a much smaller runtime overhead of around 4%.
"""
APPENDIX_A_1 = """
Note that for all datasets besides CIFAR-10 DVS, we normalize by the mean and standard deviation.
For CIFAR-10 (Krizhevsky, 2009), we utilize cropping, flipping, and Cutout (DeVries & Taylor,
2017).
For CIFAR-100 (Krizhevsky, 2009), we similarly utilize cropping, flipping, and Cutout (DeVries &
Taylor, 2017) with the addition of AutoAugment (Cubuk et al., 2019).
For CIFAR-10 DVS Li et al. (2017), we resize each frame to 48 x 48 and apply random cropping and
flipping.
Finally, for ImageNet Deng et al. (2009), we utilize random cropping and flipping.
"""
